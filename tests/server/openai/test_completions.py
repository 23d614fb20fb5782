"""Completions against a scripted engine. `test_f..` names a statement of the wire contract."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import BOS, EOS, ScriptedEngine
from tests.server.client import Client, stream_text


def ids(text: str) -> list[int]:
    return list(text.encode())


@pytest.mark.parametrize("prompt", ["a", ["a"], ids("a"), [ids("a")], [97.0]])
def test_f1_four_prompt_forms_are_one(prompt: Any) -> None:
    client = Client()
    reply = client.complete(prompt, add_special_tokens=False).json
    assert reply["choices"][0]["text"] == "hello world"
    assert client.engine.requests[0].prompt_token_ids == (97,)


def test_f2_choices_are_numbered_by_prompt_then_sample() -> None:
    client = Client()
    choices = client.complete(["a", "b"], n=2).json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [r.prompt_token_ids[-1] for r in client.engine.requests] == [97, 97, 98, 98]


@pytest.mark.parametrize("fields", [{}, {"max_tokens": None}])
def test_f3_f4_default_is_16_tokens(fields: dict[str, Any]) -> None:
    reply = Client(ScriptedEngine(reply="x" * 100)).complete(**fields).json
    assert reply["usage"]["completion_tokens"] == 16
    assert reply["choices"][0]["finish_reason"] == "length"


def test_f5_echo_without_generation_scores_the_prompt() -> None:
    reply = Client().complete("abc", echo=True, max_tokens=0, logprobs=1).json
    choice, logprobs = reply["choices"][0], reply["choices"][0]["logprobs"]
    assert choice["text"] == "abc"
    assert choice["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 0
    assert {len(values) for values in logprobs.values()} == {reply["usage"]["prompt_tokens"]}
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    assert logprobs["tokens"] == ["<bos>", "a", "b", "c"]
    assert logprobs["text_offset"] == [0, 0, 1, 2]


@pytest.mark.parametrize("reply", ["", "x"])
def test_f6_echo_scores_every_token_even_eos(reply: str) -> None:
    prompt = [98, 100, 102]
    answer = Client(ScriptedEngine(reply=reply)).complete(
        [prompt], echo=True, max_tokens=1, logprobs=1
    )
    logprobs = answer.json["choices"][0]["logprobs"]
    assert {len(values) for values in logprobs.values()} == {len(prompt) + 1}
    assert logprobs["tokens"][-1] == (reply or "<eos>")


def test_f7_the_best_token_has_the_same_number_twice() -> None:
    logprobs = Client().complete([98, 99, 100], echo=True, max_tokens=1, logprobs=1).json
    arrays = logprobs["choices"][0]["logprobs"]
    for i, best in ((2, True), (1, False)):  # even ids are the most likely ones
        assert (arrays["token_logprobs"][i] == max(arrays["top_logprobs"][i].values())) is best


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_f8_alternatives_and_the_token_itself(count: int) -> None:
    logprobs = Client().complete(logprobs=count).json["choices"][0]["logprobs"]
    for text, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True):
        assert len(top) in (max(1, count), count + 1)
        assert text in top


def test_f9_offsets_start_behind_the_prompt() -> None:
    logprobs = Client().complete("äöü", logprobs=0).json["choices"][0]["logprobs"]
    assert logprobs["text_offset"] == [3 + i for i in range(12)]


def test_f10_f11_parts_of_characters_are_spelled_in_bytes() -> None:
    choice = Client(ScriptedEngine(reply="a😀b")).complete(logprobs=0).json["choices"][0]
    logprobs = choice["logprobs"]
    parts = ["bytes:\\xf0", "bytes:\\x9f", "bytes:\\x98", "bytes:\\x80"]
    assert logprobs["tokens"] == ["a", *parts, "b", "<eos>"]
    assert logprobs["text_offset"] == [2, 3, 3, 3, 3, 4, 5]
    assert decoded(logprobs["tokens"][:-1]) == choice["text"] == "a😀b"


def decoded(tokens: list[str]) -> str:
    data = b""
    for token in tokens:
        if token.startswith("bytes:"):
            data += bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
        else:
            data += token.encode()
    return data.decode()


def test_f12_token_prompts_are_never_changed() -> None:
    client = Client()
    usage = client.complete([104, 105]).json["usage"]
    assert usage["prompt_tokens"] == 2
    assert client.engine.requests[0].prompt_token_ids == (104, 105)
    assert client.complete("hi").json["usage"]["prompt_tokens"] == 3  # with BOS


@pytest.mark.parametrize("prompt", ["", None])
def test_an_empty_prompt_starts_a_document(prompt: str | None) -> None:
    client = Client()
    assert client.complete(prompt).status == 200
    assert client.engine.requests[0].prompt_token_ids == (BOS,)


def test_f13_bias_reaches_the_engine() -> None:
    client = Client()
    assert (
        client.complete(logit_bias={"120": 100}, max_tokens=3).json["choices"][0]["text"] == "xxx"
    )
    assert client.engine.requests[0].params.logit_bias == {120: 100.0}


def test_f19_a_stop_string_is_cut_and_named() -> None:
    choice = Client().complete(stop="o w").json["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (
        "hell",
        "stop",
        "o w",
    )
    kept = Client().complete(stop=["o w"], include_stop_str_in_output=True).json["choices"][0]
    assert kept["text"] == "hello w"


def test_f21_stops_do_not_cut_the_echo() -> None:
    choice = Client().complete("abc", echo=True, stop="b", max_tokens=20).json["choices"][0]
    assert choice["text"] == "abchello world"


def test_f24_samples_have_seeds_of_their_own() -> None:
    client = Client()
    client.complete(seed=7)
    client.complete(["a", "b"], seed=7, n=2)
    client.complete(["a", "b"], seed=7, n=2)
    client.complete(n=2)
    seeds = [request.params.seed for request in client.engine.requests]
    assert seeds[0] == seeds[1] == 7
    assert len(set(seeds[1:5])) == 4
    assert seeds[1:5] == seeds[5:9]
    assert seeds[9:] == [None, None]


def test_f26_best_of_returns_the_best_first() -> None:
    replies = {0: "aaa", 1: "bbb", 2: "ccc"}  # b has the highest mean, odd ids the lowest

    def reply(request: Any) -> str:
        return replies[int(request.request_id[-1])]

    answer = Client(ScriptedEngine(reply=reply)).complete(best_of=3, n=1, max_tokens=3).json
    assert [(c["index"], c["text"], c["logprobs"]) for c in answer["choices"]] == [(0, "bbb", None)]
    assert answer["usage"]["completion_tokens"] == 9


def test_f29_f34_f35_stream_shape() -> None:
    reply = Client().complete(stream=True, n=2)
    chunks = reply.chunks
    assert reply.content.endswith(b"data: [DONE]\n\n")
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    for key in ("id", "created", "model", "system_fingerprint"):
        assert len({chunk[key] for chunk in chunks}) == 1
    ended = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(ended) == [0, 1]
    assert stream_text(chunks, 0) == stream_text(chunks, 1) == "hello world"


def test_f31_usage_comes_last_and_alone() -> None:
    chunks = Client().complete(stream=True, stream_options={"include_usage": True}).chunks
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 15
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_f32_no_usage_unless_asked() -> None:
    assert all("usage" not in chunk for chunk in Client().complete(stream=True).chunks)


def test_f33_stream_and_answer_count_alike() -> None:
    whole = Client().complete(["a", "bc"], n=2).json["usage"]
    options = {"include_usage": True}
    chunks = Client().complete(["a", "bc"], n=2, stream=True, stream_options=options).chunks
    assert chunks[-1]["usage"] == whole


def test_f82_continuous_usage_grows_to_the_total() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = Client().complete(stream=True, stream_options=options).chunks
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert chunks[-2]["usage"] == chunks[-1]["usage"]


def test_streamed_echo_and_logprobs_join_to_the_whole() -> None:
    fields = {"echo": True, "logprobs": 2, "return_token_ids": True}
    engine = ScriptedEngine(reply="a😀b")
    whole = Client(engine).complete("äb", **fields).json["choices"][0]
    chunks = Client(engine).complete("äb", stream=True, **fields).chunks
    joined: dict[str, list[Any]] = {}
    token_ids: list[int] = []
    for chunk in chunks:
        token_ids += chunk["choices"][0]["token_ids"]
        for key, values in chunk["choices"][0]["logprobs"].items():
            joined.setdefault(key, []).extend(values)
    assert joined == whole["logprobs"]
    assert stream_text(chunks) == whole["text"] == "äba😀b"
    assert token_ids == whole["token_ids"] == [*"a😀b".encode(), EOS]
    assert chunks[0]["choices"][0]["prompt_token_ids"] == whole["prompt_token_ids"]


def test_tokens_can_be_named_by_id() -> None:
    fields = {"logprobs": 1, "max_tokens": 2, "return_tokens_as_token_ids": True}
    entries = Client().complete(**fields).json["choices"][0]["logprobs"]
    names = [*entries["tokens"], *entries["top_logprobs"][0]]
    assert all(name.startswith("token_id:") for name in names)


def test_f75_ignore_eos_runs_to_the_limit() -> None:
    reply = Client().complete(ignore_eos=True, max_tokens=50).json
    assert reply["usage"]["completion_tokens"] == 50
    assert reply["choices"][0]["finish_reason"] == "length"


def test_f79_no_replacement_characters_inside_a_stream() -> None:
    chunks = Client(ScriptedEngine(reply="ä😀漢")).complete(stream=True).chunks
    assert stream_text(chunks) == "ä😀漢"
    assert "\ufffd" not in "".join(c["choices"][0]["text"] for c in chunks)


def test_f80_prompts_count_once() -> None:
    usage = [Client().complete(n=n).json["usage"]["prompt_tokens"] for n in (1, 4)]
    assert usage[0] == usage[1]


def test_f81_cached_tokens_are_reported() -> None:
    usage = Client(ScriptedEngine(cached_tokens=2)).complete().json["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}


def test_prompt_logprobs_extension() -> None:
    choice = Client().complete([98, 99, 100], prompt_logprobs=1).json["choices"][0]
    first, second, third = choice["prompt_logprobs"]
    assert first is None
    assert third == {"100": {"logprob": -0.2, "rank": 1, "decoded_token": "d"}}
    assert second["99"]["rank"] is None and second["97"]["rank"] == 1


def test_other_names_of_fields() -> None:
    client = Client()
    client.complete(n_predict=3, repeat_penalty=1.5, top_k=-1)
    params = client.engine.requests[0].params
    assert (params.max_new_tokens, params.repetition_penalty, params.top_k) == (3, 1.5, 0)
    client.complete(max_completion_tokens=4)
    client.complete(max_completion_tokens=4, max_tokens=5)
    assert [request.params.max_new_tokens for request in client.engine.requests[1:]] == [4, 5]


def test_every_sampling_field_reaches_the_engine() -> None:
    client = Client()
    client.complete(
        temperature=0.5, top_p=0.25, top_k=4, min_p=0.125, presence_penalty=1, seed=-5,
        frequency_penalty=-1.5, repetition_penalty=2, min_tokens=2, stop_token_ids=[5], stop=["x"],
        allowed_token_ids=[104, 105], skip_special_tokens=False, max_tokens=9, ignore_eos=False,
    )  # fmt: skip
    params = client.engine.requests[0].params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.25, 4, 0.125)
    assert (params.presence_penalty, params.frequency_penalty) == (1, -1.5)
    assert (params.repetition_penalty, params.min_tokens, params.seed) == (2, 2, -5)
    assert (params.stop_token_ids, params.stop) == ((5,), ("x",))
    assert (params.allowed_token_ids, params.skip_special_tokens) == ((104, 105), False)
    assert (params.max_new_tokens, params.logprobs, params.prompt_logprobs) == (9, None, None)


def test_stop_token_ids_name_themselves() -> None:
    choice = Client().complete(stop_token_ids=[111]).json["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", 111)


def test_line_separators_stay_inside_their_event() -> None:
    reply = Client(ScriptedEngine(reply="a\u2028b\u0085c\nd")).complete(stream=True)
    assert all(line.startswith("data: ") for line in reply.content.decode().splitlines() if line)
    assert stream_text(reply.chunks) == "a\u2028b\u0085c\nd"


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"truncate_prompt_tokens": 3}, "hij"),
        ({"truncate_prompt_tokens": 3, "truncation_side": "right"}, "abc"),
        ({"truncate_prompt_tokens": 99}, "abcdefghij"),
        ({"truncate_prompt_tokens": -1, "max_tokens": 4}, "abcdefghij"),
        ({"truncate_prompt_tokens": -1, "max_tokens": 12}, "cdefghij"),
        ({"truncate_prompt_tokens": -1, "max_tokens": 12, "truncation_side": "right"}, "abcdefgh"),
        ({"truncation_side": "left"}, "abcdefghij"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_cut_when_asked(fields: dict[str, Any], kept: str, stream: bool) -> None:
    client = Client(ScriptedEngine(max_model_len=20))
    ask: dict[str, Any] = {"max_tokens": 4, "add_special_tokens": False, "echo": True, **fields}
    reply = client.complete("abcdefghij", stream=stream, **ask)
    assert bytes(client.engine.requests[0].prompt_token_ids).decode() == kept
    said = stream_text(reply.chunks) if stream else reply.json["choices"][0]["text"]
    assert said.startswith(kept + "hell")


def test_each_of_several_prompts_is_cut_and_counted_as_it_is_then() -> None:
    client = Client()
    usage = client.complete(["abc", "d"], add_special_tokens=False, truncate_prompt_tokens=2).json
    cut = [bytes(request.prompt_token_ids) for request in client.engine.requests]
    assert (cut, usage["usage"]["prompt_tokens"]) == ([b"bc", b"d"], 3)
