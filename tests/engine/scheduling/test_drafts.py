from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.scheduling.drafts import DraftProposer


def proposer(text: list[int], most: int = 8, *, length: int | None = None) -> DraftProposer:
    """One that knows the text; a `length` above 1 is how many tokens it has learned to guess."""
    made = DraftProposer(most)
    made.extend(text)
    if length is not None:
        made.learn(length, length - 1)
    return made


def test_what_followed_the_last_tokens_is_proposed() -> None:
    assert proposer([1, 2, 3, 4, 5, 6, 1, 2, 3], length=3).propose(8) == (4, 5, 6)


def test_the_latest_place_counts() -> None:
    assert proposer([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3]).propose(1) == (8,)


def test_three_tokens_are_a_better_witness_than_two() -> None:
    assert proposer([1, 2, 3, 7, 0, 2, 3, 8, 1, 2, 3]).propose(1) == (7,)


def test_two_tokens_must_do_where_three_never_stood() -> None:
    assert proposer([2, 3, 7, 9, 9, 2, 3], length=2).propose(8) == (7, 9)


def test_one_token_is_not_enough() -> None:
    assert proposer([3, 7, 9, 3]).propose(8) == ()
    assert proposer([3]).propose(8) == proposer([]).propose(8) == ()


def test_a_repetition_up_to_the_end_goes_on() -> None:
    assert proposer([5, 1, 2, 1, 2, 1], length=5).propose(8) == (2, 1, 2, 1, 2)
    assert proposer([4, 4, 4], length=3).propose(8) == (4, 4, 4)


def test_the_limit_holds() -> None:
    assert proposer([1, 2, 3, 4, 5, 6, 1, 2, 3], length=3).propose(2) == (4, 5)


def test_the_length_follows_what_was_right() -> None:
    made = proposer([4] * 9, most=10)
    lengths: list[int] = []
    for right in (2, 4, 8, 2, 3, 5, 6):
        lengths.append(len(made.propose(99)))
        made.learn(lengths[-1], right)
    assert lengths == [2, 4, 8, 10, 3, 6, 6]


def test_in_vain_it_pauses_longer_each_time_and_shorter_when_something_was_right() -> None:
    made = proposer([4] * 9)
    made.learn(2, 0)
    pauses: list[int] = []
    for _ in range(9):
        pauses.append(pause(made))
        made.learn(1, 0)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert pause(made) == 64
    made.learn(1, 1)
    assert pause(made) == 0
    made.learn(2, 0)
    assert pause(made) == 32


def test_pauses_are_longer_in_company() -> None:
    made = proposer([4] * 9)
    made.learn(2, 0, num_sequences=5)
    assert pause(made) == 5
    made.learn(1, 0, num_sequences=3)
    assert pause(made) == 6


def pause(made: DraftProposer) -> int:
    """Proposals left out before the next one."""
    count = 0
    while not made.propose(8):
        count += 1
    return count


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_it_does_not_matter_in_which_pieces_the_text_comes(
    text: list[int], cuts: list[int]
) -> None:
    made = DraftProposer(8)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, stop in zip(edges, edges[1:], strict=False):
        assert made.num_tokens == start
        made.extend(text[start:stop])
    drafts = made.propose(8)
    assert drafts == proposer(text).propose(8)
    assert bool(drafts) == any(text[-2:] == text[at : at + 2] for at in range(len(text) - 2))
