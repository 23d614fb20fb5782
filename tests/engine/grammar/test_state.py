from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.grammar.masks import GrammarMasks
from engine.grammar.state import GrammarState
from engine.sampling_params import Grammar, SamplingParams
from tests.engine.grammar.samples import (
    END,
    OTHER_END,
    TURN,
    VOCAB_SIZE,
    compiled,
    matcher,
    members,
    regex,
)

ENDS = (END, OTHER_END)
MASKS = GrammarMasks()


def begin(grammar: Grammar, ends: tuple[int, ...] = ENDS, **params: object) -> GrammarState:
    made = SamplingParams(grammar=grammar, **params)  # pyright: ignore[reportArgumentType]
    return compiled(grammar).begin(made, ends)


def after(grammar: Grammar, text: str, ends: tuple[int, ...] = ENDS, **params: object) -> set[int]:
    """What may be drawn after the text; all ids when that says something about the state."""
    return legal(follow(begin(grammar, ends, **params), text))


def follow(state: GrammarState, text: str) -> GrammarState:
    for token_id in text.encode():
        state.advance(token_id)
    return state


def legal(state: GrammarState) -> set[int]:
    masks = MASKS.start([None, state])
    assert masks is not None and masks.rows == (1,)
    return members(masks.wait()[0])


def ids(text: str) -> set[int]:
    return set(text.encode())


EVERYTHING = set(range(288))


def test_end_ids_are_legal_when_the_text_may_end_and_only_then() -> None:
    grammar = regex("ab+(c|de)?")
    assert after(grammar, "") == ids("a")
    assert after(grammar, "a") == ids("b")
    assert after(grammar, "ab") == ids("bcd") | {*ENDS}
    assert after(grammar, "abd") == ids("e")
    assert after(grammar, "abc") == {*ENDS}


def test_ids_without_a_token_are_never_legal() -> None:
    """`<[*]>` is any token at all, in llguidance's own words."""
    assert after(Grammar("lark", "start: <[*]>"), "") == {*range(256), *ENDS, TURN}


def test_other_wishes_are_joined_with_the_grammar() -> None:
    grammar = regex("[a-f]+")
    assert after(grammar, "a", allowed_token_ids=(97, 98, 120)) == ids("ab")
    assert after(grammar, "a", allowed_token_ids=(97, END)) == ids("a") | {END}


def test_a_minimum_holds_off_the_end_as_long_as_the_text_can_go_on() -> None:
    grammar = regex("a{1,3}")
    assert after(grammar, "a", min_tokens=2) == ids("a")
    assert after(grammar, "aa", min_tokens=2) == ids("a") | {*ENDS}
    assert after(grammar, "aaa", min_tokens=9) == {*ENDS}
    assert after(grammar, "a", min_tokens=2, stop_token_ids=(97,)) == ids("a") | {*ENDS}
    assert after(regex("[ab]+"), "a", min_tokens=2, stop_token_ids=(97,)) == ids("b")


def test_ignored_ends_are_not_offered() -> None:
    grammar = regex("ab?")
    assert after(grammar, "a", ends=()) == ids("b")
    assert after(grammar, "a", ends=(OTHER_END,)) == ids("b") | {OTHER_END}


def test_a_complete_text_without_an_end_id_is_known_as_complete() -> None:
    for text, ends, params in (
        ("ab", (), {}),
        ("a", (), {"allowed_token_ids": (97,)}),
        ("a", ENDS, {"allowed_token_ids": (97,)}),
    ):
        state = follow(begin(regex("ab?"), ends, **params), text)
        assert not state.complete
        assert legal(state) == EVERYTHING
        assert state.complete and state.failure is None


def test_the_empty_text_can_be_all() -> None:
    assert after(regex(""), "") == {*ENDS}
    state = begin(regex(""), ())
    legal(state)
    assert state.complete


def test_wishes_that_exclude_each_other_are_a_failure() -> None:
    state = follow(begin(regex("ab+"), allowed_token_ids=(97, END)), "a")
    assert legal(state) == EVERYTHING
    assert not state.complete and state.failure is not None
    assert state.failure.parameter == "allowed_token_ids"


def test_a_grammar_too_complex_to_follow_is_a_failure() -> None:
    rules = [f'r{i}: "b{i}"' for i in range(2500)]
    either = " | ".join(f'"a" r{i}' for i in range(2500))
    state = begin(Grammar("lark", "\n".join(["start: /[xy]/ z", f"z: {either}", *rules])))
    assert legal(state) == ids("xy")
    state.advance(ord("x"))
    legal(state)
    assert state.failure is not None and state.failure.parameter == "grammar"
    assert "\n" not in state.failure.reason
    assert legal(state) == EVERYTHING


def test_a_token_that_cannot_follow_is_a_failure() -> None:
    state = begin(regex("[ab]"))
    state.advance(ord("c"))
    assert state.failure is not None
    assert state.forced_token is None


def test_where_one_text_is_left_its_tokens_are_forced() -> None:
    state = begin(regex("[ab]cde[fg]"))
    assert state.forced_token is None
    state.advance(ord("a"))
    for letter in b"cde":
        assert state.forced_token == letter
        assert legal(state) == {letter}
        state.advance(letter)
    assert state.forced_token is None
    assert legal(state) == ids("fg")


def test_a_text_may_begin_with_forced_tokens() -> None:
    assert begin(regex("ab")).forced_token == ord("a")


def test_the_end_is_forced_when_there_is_one_way_to_end() -> None:
    def end(ends: tuple[int, ...], **params: object) -> int | None:
        return follow(begin(regex("a"), ends, **params), "a").forced_token

    assert end((END,)) == END
    assert end(ENDS) is None
    assert end(ENDS, allowed_token_ids=(97, OTHER_END)) == OTHER_END
    assert end(()) is None
    assert follow(begin(regex("ab?"), (END,)), "a").forced_token is None


def test_a_forced_token_that_is_not_allowed_is_not_forced() -> None:
    state = follow(begin(regex("[ab]c"), allowed_token_ids=(97, 98)), "a")
    assert state.forced_token is None
    legal(state)
    assert state.failure is not None


def test_states_of_one_grammar_are_their_own() -> None:
    grammar = compiled(regex("[ab]{3}"))
    first, second = (grammar.begin(SamplingParams(), ENDS) for _ in range(2))
    follow(first, "aaa")
    assert legal(first) == {*ENDS}
    assert legal(second) == ids("ab")


def test_a_step_without_grammars_costs_nothing() -> None:
    assert GrammarMasks().start([None, None]) is None
    assert GrammarMasks().start([]) is None


expressions = st.sampled_from(
    ["[a-e]*", "(ab|a)c?[x-z]{0,3}", "abc(d|e)f*", "", r"(\d{1,3},)*\d", "a?b?c?d?"]
)


@given(st.data())
def test_masks_of_a_step_are_what_each_row_gets_alone(data: st.DataObject) -> None:
    """Row by row against llguidance asked about one id after the other."""
    states: list[GrammarState | None] = []
    wanted: list[set[int] | None] = []
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(st.booleans()):
            states.append(None)
            wanted.append(None)
            continue
        grammar = regex(data.draw(expressions))
        walker, state = matcher(grammar), begin(grammar)
        for _ in range(data.draw(st.integers(0, 5))):
            options = [i for i in range(256) if walker.validate_tokens([i])]
            if not options:
                break
            token_id = data.draw(st.sampled_from(options))
            walker.consume_token(token_id)
            state.advance(token_id)
        legal_ids = {i for i in range(VOCAB_SIZE) if i < 256 and walker.validate_tokens([i])}
        states.append(state)
        wanted.append(legal_ids | ({*ENDS} if walker.is_accepting() else set()))
    masks = MASKS.start(states)
    rows = [row for row, want in enumerate(wanted) if want is not None]
    assert (masks is None) == (not rows)
    if masks is not None:
        assert list(masks.rows) == rows
        assert [members(bits) for bits in masks.wait()] == [wanted[row] for row in rows]
