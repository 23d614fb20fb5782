from __future__ import annotations

import pytest

from engine.scheduling.blocks import PADDING_BLOCK, BlockManager
from engine.scheduling.prefix_cache import PrefixCache
from engine.scheduling.sequence import Sequence
from tests.engine.scheduling.simulation import make_sequence


def cached_text(blocks: BlockManager, tokens: list[int]) -> tuple[Sequence, list[int]]:
    """A sequence whose full blocks are computed, registered and released again."""
    assert blocks.prefix_cache is not None
    sequence = make_sequence("x", tokens)
    blocks.append(sequence.block_ids, len(tokens))
    held = list(sequence.block_ids)
    blocks.prefix_cache.register(sequence, 0, len(tokens))
    blocks.release(sequence.block_ids)
    return sequence, held


def test_the_padding_block_is_never_handed_out() -> None:
    blocks = BlockManager(5, 4, None)
    table: list[int] = []
    blocks.append(table, 16)
    assert sorted(table) == [1, 2, 3, 4]
    assert PADDING_BLOCK not in table
    assert (blocks.blocks_free, blocks.blocks_used, blocks.blocks_total) == (0, 4, 4)
    assert blocks.capacity == 16


def test_append_takes_a_block_only_when_one_is_crossed() -> None:
    blocks = BlockManager(5, 4, None)
    table: list[int] = []
    lengths: list[int] = []
    for tokens in (1, 4, 5, 8, 9):
        blocks.append(table, tokens)
        lengths.append(len(table))
    assert lengths == [1, 1, 2, 2, 3]


def test_released_blocks_come_back() -> None:
    blocks = BlockManager(3, 4, None)
    table: list[int] = []
    blocks.append(table, 8)
    blocks.release(table)
    assert table == []
    assert blocks.blocks_used == 0
    blocks.append(table, 8)
    assert sorted(table) == [1, 2]


def test_a_shared_block_is_used_until_its_last_owner_leaves() -> None:
    blocks = BlockManager(5, 2, PrefixCache(2))
    _, held = cached_text(blocks, [1, 2, 3, 4])
    first, second = blocks.share(held), blocks.share(held)
    assert [blocks.references(block) for block in held] == [2, 2]
    assert blocks.blocks_used == 2
    blocks.release(first)
    assert blocks.blocks_used == 2
    blocks.release(second)
    assert blocks.blocks_used == 0


def test_blank_blocks_go_before_cached_ones_and_the_oldest_cached_text_goes_first() -> None:
    cache = PrefixCache(2)
    blocks = BlockManager(6, 2, cache)
    old, old_blocks = cached_text(blocks, [1, 2, 3, 4])
    new, new_blocks = cached_text(blocks, [5, 6, 7, 8])
    table: list[int] = []
    blocks.append(table, 2)
    assert cache.find(old, 4) == old_blocks
    blocks.append(table, 4)  # no blank block is left: the old text loses its tail
    assert cache.find(old, 4) == old_blocks[:1]
    assert cache.find(new, 4) == new_blocks
    blocks.append(table, 6)
    assert cache.find(old, 4) == []
    assert cache.find(new, 4) == new_blocks


def test_use_makes_a_cached_text_young_again() -> None:
    cache = PrefixCache(2)
    blocks = BlockManager(5, 2, cache)
    first, first_blocks = cached_text(blocks, [1, 2, 3, 4])
    second, second_blocks = cached_text(blocks, [5, 6, 7, 8])
    blocks.release(blocks.share(first_blocks))
    blocks.append([], 4)
    assert cache.find(first, 4) == first_blocks
    assert cache.find(second, 4) == []


def test_num_cached_counts_what_sharing_would_take_from_the_free() -> None:
    blocks = BlockManager(5, 2, PrefixCache(2))
    _, held = cached_text(blocks, [1, 2, 3, 4])
    assert blocks.num_cached(held) == 2
    blocks.share(held[:1])
    assert blocks.num_cached(held) == 1
    assert blocks.blocks_free == 3


def test_forgotten_blocks_are_blank_and_live_ones_stay_owned() -> None:
    cache = PrefixCache(2)
    blocks = BlockManager(5, 2, cache)
    sequence, held = cached_text(blocks, [1, 2, 3, 4])
    table = blocks.share(held[:1])
    blocks.forget(held)
    assert cache.find(sequence, 4) == []
    assert (blocks.blocks_used, blocks.blocks_free) == (1, 3)
    blocks.release(table)
    assert (blocks.blocks_used, blocks.blocks_free) == (0, 4)
    blocks.append(table, 8)
    assert sorted(table) == [1, 2, 3, 4]


def test_reset_cache_forgets_everything() -> None:
    cache = PrefixCache(2)
    blocks = BlockManager(5, 2, cache)
    sequence, held = cached_text(blocks, [1, 2, 3, 4])
    table = blocks.share(held[:1])
    blocks.reset_cache()
    assert len(cache) == 0
    assert cache.find(sequence, 4) == []
    blocks.release(table)
    assert blocks.blocks_free == 4


@pytest.mark.parametrize(("num_blocks", "block_size"), [(1, 16), (4, 0)])
def test_a_cache_that_can_hold_nothing_is_refused(num_blocks: int, block_size: int) -> None:
    with pytest.raises(ValueError, match="no cache of"):
        BlockManager(num_blocks, block_size, None)
