from __future__ import annotations

from engine.scheduling.prefix_cache import PrefixCache, block_key
from engine.scheduling.sequence import Sequence
from tests.engine.scheduling.simulation import make_sequence


def stored(tokens: list[int], block_ids: list[int]) -> Sequence:
    sequence = make_sequence("x", tokens)
    sequence.block_ids = block_ids
    return sequence


def test_the_longest_prefix_of_full_blocks_is_found() -> None:
    cache = PrefixCache(2)
    assert cache.register(stored([1, 2, 3, 4, 5], [7, 8, 9]), 0, 5) == [7, 8]
    assert cache.find(make_sequence("same", [1, 2, 3, 4, 5, 6]), 5) == [7, 8]
    assert cache.find(make_sequence("shorter", [1, 2, 3, 4]), 3) == [7]
    assert cache.find(make_sequence("forks", [1, 2, 3, 5, 5]), 4) == [7]
    assert cache.find(make_sequence("other", [2, 2, 3, 4, 5]), 4) == []


def test_equal_blocks_after_different_beginnings_are_different() -> None:
    cache = PrefixCache(2)
    cache.register(stored([1, 1, 3, 4], [5, 6]), 0, 4)
    cache.register(stored([2, 2], [7]), 0, 2)
    assert cache.find(make_sequence("x", [2, 2, 3, 4, 0]), 4) == [7]


def test_only_blocks_filled_by_the_chunk_are_registered() -> None:
    cache = PrefixCache(4)
    sequence = stored([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3])
    assert cache.register(sequence, 0, 3) == []
    assert cache.register(sequence, 3, 6) == [1]
    assert cache.register(sequence, 6, 9) == [2]


def test_the_first_copy_of_a_text_stays() -> None:
    cache = PrefixCache(2)
    cache.register(stored([1, 2], [5]), 0, 2)
    assert cache.register(stored([1, 2], [6]), 0, 2) == []
    assert 6 not in cache
    cache.forget(6)  # never registered: nothing happens
    assert cache.find(make_sequence("x", [1, 2, 3]), 2) == [5]


def test_a_forgotten_beginning_hides_what_follows_until_it_is_back() -> None:
    cache = PrefixCache(2)
    sequence = stored([1, 2, 3, 4], [5, 6])
    cache.register(sequence, 0, 4)
    cache.forget(5)
    assert cache.find(sequence, 4) == []
    cache.register(stored([1, 2], [9]), 0, 2)
    assert cache.find(sequence, 4) == [9, 6]


def test_output_tokens_count_as_text() -> None:
    cache = PrefixCache(2)
    sequence = stored([1, 2, 3], [5, 6])
    sequence.output_token_ids = [4]
    cache.register(sequence, 0, 4)
    assert cache.find(make_sequence("next turn", [1, 2, 3, 4, 5]), 4) == [5, 6]


def test_reset_forgets_all() -> None:
    cache = PrefixCache(2)
    cache.register(stored([1, 2, 3, 4], [5, 6]), 0, 4)
    cache.reset()
    assert len(cache) == 0
    assert cache.find(make_sequence("x", [1, 2, 3]), 2) == []


def test_names_depend_on_token_boundaries_and_parent() -> None:
    root = bytes(16)
    names = {
        block_key(root, [1, 2]),
        block_key(root, [2, 1]),
        block_key(root, [258, 0]),
        block_key(block_key(root, [1, 2]), [1, 2]),
    }
    assert len(names) == 4
    assert all(len(name) == 16 for name in names)
