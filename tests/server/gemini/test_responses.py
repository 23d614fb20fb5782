"""The writer of responses: what it holds back, what it adds up, whatever the deltas are."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.types import FinishReason, OutputToken, TextDelta, TokenLogprob
from server.gemini.candidate import Head
from server.gemini.responses import ResponseWriter
from tests.server.gemini.helpers import text_of

EOS = 3


def writer(candidates: int = 1, logprobs: int | None = None) -> ResponseWriter:
    head = Head(
        response_id="id",
        model='na"me%d',
        prompt_tokens=7,
        candidates=candidates,
        logprobs=logprobs,
        eos_token_ids=(EOS,),
        token_bytes=lambda token_id: bytes([64 + token_id]),
    )
    return ResponseWriter(head)


def token(token_id: int, logprob: float, *top: tuple[int, float]) -> OutputToken:
    return OutputToken(token_id, 0, False, TokenLogprob(token_id, logprob, top))


def chunks_of(answer: ResponseWriter, deltas: list[tuple[int, TextDelta]]) -> list[dict[str, Any]]:
    chunks = [answer.add(index, delta) for index, delta in deltas]
    return [json.loads(chunk) for chunk in [*chunks, answer.finish()] if chunk is not None]


def stop(text: str = "", count: int = 0) -> TextDelta:
    return TextDelta(text=text, finish_reason=FinishReason.STOP, num_generated_tokens=count)


def test_one_text_is_held_back_for_the_finish_reason() -> None:
    answer = writer()
    assert answer.add(0, TextDelta(text="a", num_generated_tokens=1)) is None
    assert answer.add(0, TextDelta(num_generated_tokens=2)) is None
    first = answer.add(0, TextDelta(text="b", num_generated_tokens=3))
    assert first is not None
    assert text_of(json.loads(first)) == "a"
    assert json.loads(first)["usageMetadata"]["candidatesTokenCount"] == 2
    assert answer.add(0, stop(count=4)) is None
    last = json.loads(answer.finish())
    assert text_of(last) == "b"
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"]["candidatesTokenCount"] == 4
    assert last["modelVersion"] == 'na"me%d'


def test_what_was_held_back_can_be_sent_before_an_error() -> None:
    answer = writer()
    assert answer.held_back() is None
    answer.add(0, TextDelta(text="a"))
    held = answer.held_back()
    assert held is not None and text_of(json.loads(held)) == "a"
    assert answer.held_back() is None


@given(
    st.lists(st.tuples(st.integers(0, 2), st.text(max_size=3)), max_size=20),
    st.permutations([0, 1, 2]),
    st.lists(st.text(max_size=2), min_size=3, max_size=3),
)
def test_g12_to_g16_hold_for_any_deltas(
    steps: list[tuple[int, str]], order: list[int], ends: list[str]
) -> None:
    said = ["", "", ""]
    counts = [0, 0, 0]
    deltas: list[tuple[int, TextDelta]] = []
    for index, text in steps:
        said[index] += text
        counts[index] += 1
        deltas.append((index, TextDelta(text=text, num_generated_tokens=counts[index])))
    for index in order:
        said[index] += ends[index]
        deltas.append((index, stop(ends[index], counts[index] + 1)))
    chunks = chunks_of(writer(3), deltas)
    for chunk in chunks:
        assert [c["index"] for c in chunk["candidates"]] == [0, 1, 2]
        for candidate in chunk["candidates"]:
            assert ("finishReason" in candidate) == (chunk is chunks[-1])
    for index in range(3):
        assert "".join(text_of(chunk, index) for chunk in chunks) == said[index]
    counted = [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks]
    assert counted == sorted(counted)
    assert counted[-1] == sum(counts) + 3


def test_all_chunks_but_the_last_have_new_text() -> None:
    deltas = [(0, TextDelta(text=text)) for text in ("", "a", "", "", "b", "")]
    chunks = chunks_of(writer(), [*deltas, (0, stop())])
    assert [text_of(chunk) for chunk in chunks] == ["a", "b"]


def test_the_end_of_sequence_token_is_not_reported() -> None:
    last = TextDelta(
        text="B",
        tokens=(token(2, -1.0), token(EOS, -2.0)),
        finish_reason=FinishReason.STOP,
    )
    (chunk,) = chunks_of(writer(logprobs=0), [(0, last)])
    candidate = chunk["candidates"][0]
    assert [t["token"] for t in candidate["logprobsResult"]["chosenCandidates"]] == ["B"]
    assert candidate["avgLogprobs"] == -1.0


def test_the_same_token_is_reported_when_it_ended_nothing() -> None:
    last = TextDelta(tokens=(token(EOS, -2.0),), finish_reason=FinishReason.LENGTH)
    (chunk,) = chunks_of(writer(logprobs=0), [(0, last)])
    assert len(chunk["candidates"][0]["logprobsResult"]["chosenCandidates"]) == 1


def test_g41_minus_infinity_is_a_finite_number() -> None:
    last = TextDelta(
        tokens=(token(1, -math.inf, (2, -0.5), (4, -math.inf)),), finish_reason=FinishReason.LENGTH
    )
    (chunk,) = chunks_of(writer(logprobs=2), [(0, last)])
    result = chunk["candidates"][0]["logprobsResult"]
    assert result["chosenCandidates"][0]["logProbability"] == -1e30
    values = [t["logProbability"] for t in result["topCandidates"][0]["candidates"]]
    assert values == [-0.5, -1e30]
    assert chunk["candidates"][0]["avgLogprobs"] == -1e30


def test_cached_tokens_of_several_candidates_are_the_fewest() -> None:
    deltas = [
        (0, TextDelta(text="a", num_cached_tokens=2, finish_reason=FinishReason.STOP)),
        (1, TextDelta(text="b", num_cached_tokens=6, finish_reason=FinishReason.STOP)),
    ]
    chunks = chunks_of(writer(2), deltas)
    assert chunks[-1]["usageMetadata"]["cachedContentTokenCount"] == 2


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 5)), max_size=12))
def test_a_plain_chunk_is_written_as_any_other(said: list[tuple[str, int]]) -> None:
    plain, general = writer(), writer()
    general._only = None  # pyright: ignore[reportPrivateUsage]
    deltas = [
        TextDelta(text=text, num_generated_tokens=count, num_cached_tokens=cached)
        for count, (text, cached) in enumerate(said, start=1)
    ]
    for delta in [*deltas, stop("end", len(deltas) + 1)]:
        assert plain.add(0, delta) == general.add(0, delta)
    assert plain.finish() == general.finish()
