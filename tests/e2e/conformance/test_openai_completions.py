"""Statements of the OpenAI contract on completions, against a real process (numbers as there)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conformance.wire import COMPLETIONS, MODEL, STORY, Api, chat_body

GREEDY = {"temperature": 0}


def decoded(tokens: list[str]) -> bytes:
    """The bytes of legacy token names."""
    pieces = []
    for token in tokens:
        if token.startswith("bytes:"):
            pieces.append(bytes.fromhex(token.removeprefix("bytes:").replace("\\x", "")))
        else:
            pieces.append(token.encode())
    return b"".join(pieces)


def test_f2_choices_are_numbered_by_prompt(api: Api) -> None:
    body = api.complete(["Once", "The dog"], n=2, echo=True, max_tokens=4, seed=1)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    starts = [choice["text"][:4] for choice in body["choices"]]
    assert starts == ["Once", "Once", "The ", "The "]


def test_f3_f4_how_much_is_generated_by_default(api: Api) -> None:
    for fields in ({}, {"max_tokens": None}):
        body = api.complete(ignore_eos=True, **GREEDY, **fields)
        assert body["usage"]["completion_tokens"] == 16
    body = api.chat("Tell me a short story about a dog.", **GREEDY)
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] > 16


def test_f3_chat_runs_to_the_end_of_the_context(api: Api) -> None:
    body = api.chat("dog " * 1900, ignore_eos=True)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == 2048


def test_f5_scoring_without_generating(api: Api) -> None:
    body = api.complete(echo=True, max_tokens=0, logprobs=1)
    choice, usage = body["choices"][0], body["usage"]
    assert choice["text"] == STORY and choice["finish_reason"] == "length"
    assert {len(values) for values in choice["logprobs"].values()} == {usage["prompt_tokens"]}
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert choice["logprobs"]["top_logprobs"][0] is None
    assert usage["completion_tokens"] == 0


@pytest.mark.parametrize("count", [0, 1, 5])
def test_f8_f9_f11_legacy_logprobs(api: Api, count: int) -> None:
    choice = api.complete(logprobs=count, max_tokens=12, **GREEDY)["choices"][0]
    entries = choice["logprobs"]
    assert all(len(top) in (count, count + 1) for top in entries["top_logprobs"])
    assert entries["text_offset"][0] == len(STORY)
    assert decoded(entries["tokens"]).decode() == choice["text"]


def test_f10_f79_characters_that_take_several_tokens(api: Api) -> None:
    emoji = "🐶"
    ids = api.ids(emoji)
    assert len(ids) > 1, "the model spells it in bytes"
    body = api.complete(emoji, echo=True, max_tokens=0, logprobs=0, add_special_tokens=False)
    entries = body["choices"][0]["logprobs"]
    assert all(token.startswith("bytes:\\x") for token in entries["tokens"])
    assert set(entries["text_offset"]) == {0}
    assert decoded(entries["tokens"]).decode() == emoji
    choices = [{"structured_outputs": {"choice": [emoji * 3]}, "max_tokens": 50}]
    for fields in choices:
        pieces = api.stream(**fields)
        assert "".join(pieces) == emoji * 3 and "\ufffd" not in "".join(pieces)


def test_f12_token_prompts_are_taken_as_they_are(api: Api) -> None:
    ids = api.ids(STORY)
    assert api.complete(ids, max_tokens=1)["usage"]["prompt_tokens"] == len(ids)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"logit_bias": {"abc": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias", "decimal_above_max_value"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
        ({"presence_penalty": -2.1}, "presence_penalty", "decimal_below_min_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"best_of": 1, "n": 2}, "best_of", "integer_below_min_value"),
        ({"best_of": 3, "stream": True}, "best_of", "invalid_value"),
        ({"stop": ""}, "stop", "invalid_value"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
    ],
)
def test_f14_f15_f16_f18_f26_bad_values(
    api: Api, fields: dict[str, Any], param: str, code: str
) -> None:
    error = api.error(COMPLETIONS, {"model": MODEL, "prompt": "a", **fields})
    assert (error["param"], error["code"]) == (param, code)


def test_f16_f17_bad_logprobs_of_chat(api: Api) -> None:
    for fields in ({"logprobs": True, "top_logprobs": 21}, {"top_logprobs": 5}):
        error = api.error("/v1/chat/completions", chat_body(**fields))
        assert error["param"] == "top_logprobs"


def test_f18_null_stream_options_are_fine(api: Api) -> None:
    api.complete(stream_options=None, max_tokens=1)


def test_f19_f21_stop_strings(api: Api) -> None:
    whole = api.text(max_tokens=24, **GREEDY)
    stop = whole[6:12]
    texts = [api.post("/detokenize", {"tokens": [id_]}).json()["prompt"] for id_ in api.ids(whole)]
    assert not any(stop in text for text in texts), "it spans tokens"
    choice = api.complete(max_tokens=24, stop=stop, **GREEDY)["choices"][0]
    assert choice["text"] == whole[: whole.index(stop)] and choice["finish_reason"] == "stop"
    echoed = api.complete(max_tokens=4, stop="little", echo=True, **GREEDY)["choices"][0]
    assert echoed["text"].startswith(STORY)


def test_f26_the_best_of_some(api: Api) -> None:
    body = api.complete(best_of=3, n=1, max_tokens=8, seed=1)
    assert len(body["choices"]) == 1 and body["usage"]["completion_tokens"] > 8
    scored = api.complete(best_of=3, n=3, max_tokens=8, seed=1, logprobs=0)["choices"]
    means = {choice["text"]: _mean(choice["logprobs"]["token_logprobs"]) for choice in scored}
    assert body["choices"][0]["text"] == max(means, key=lambda text: means[text])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_f29_f34_f35_chunks(api: Api) -> None:
    chunks = api.complete_chunks(n=2, max_tokens=6, seed=1)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    finished = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(finished) == [0, 1]
    for name in ("id", "created", "model", "system_fingerprint"):
        assert len({chunk[name] for chunk in chunks}) == 1
    body = {"model": MODEL, "prompt": "a", "stream": True, "max_tokens": 1}
    assert api.raw(COMPLETIONS, body).endswith(b"\n\ndata: [DONE]\n\n")


def test_f31_f32_f33_usage_of_streams(api: Api) -> None:
    *others, last = api.complete_chunks(
        stream_options={"include_usage": True}, max_tokens=6, **GREEDY
    )
    assert last["choices"] == [] and all(chunk["usage"] is None for chunk in others)
    whole = api.complete(max_tokens=6, **GREEDY)["usage"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert last["usage"][name] == whole[name]
    assert all(not chunk.get("usage") for chunk in api.complete_chunks(max_tokens=3))


def test_f80_a_prompt_counts_once(api: Api) -> None:
    one, four = (api.complete(n=n, max_tokens=1)["usage"]["prompt_tokens"] for n in (1, 4))
    assert one == four


def test_f82_continuous_usage(api: Api) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = api.complete_chunks(stream_options=options, max_tokens=6, **GREEDY)
    counts = [chunk["usage"]["total_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert chunks[-1]["usage"]["total_tokens"] == counts[-2]
