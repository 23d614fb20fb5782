"""Chat against a scripted engine. `test_f..` names a statement of the wire contract."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import TURN, ScriptedEngine
from tests.server.client import MODEL, Client, stream_text


def deltas(chunks: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any], str | None]]:
    return [
        (choice["index"], choice["delta"], choice["finish_reason"])
        for chunk in chunks
        for choice in chunk["choices"]
    ]


def test_whole_answer() -> None:
    reply = Client().chat().json
    assert reply["object"] == "chat.completion"
    assert reply["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "hello world",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ]
    assert reply["usage"]["completion_tokens"] == 12


def test_f3_no_limit_means_the_rest_of_the_context() -> None:
    client = Client()
    client.chat()
    assert client.engine.requests[0].params.max_new_tokens is None


def test_f30_f36_f37_roles_first_in_order_and_empty_deltas_last() -> None:
    items = deltas(Client().chat(n=3, stream=True).chunks)
    role = {"role": "assistant", "content": ""}
    assert items[:3] == [(0, role, None), (1, role, None), (2, role, None)]
    assert sum("role" in delta for _, delta, _ in items) == 3
    assert [delta for _, delta, finish in items if finish] == [{}, {}, {}]
    assert {index for index, _, _ in items[3:7]} == {0, 1, 2}  # interleaved


def test_f30_roles_come_in_order_though_a_later_choice_speaks_first() -> None:
    def reply(request: Any) -> str:
        return "é" if request.request_id.endswith("-0") else "e"

    items = deltas(Client(ScriptedEngine(reply=reply)).chat(n=2, stream=True).chunks)
    assert [index for index, _, _ in items[:2]] == [0, 1]


def test_f20_f22_streamed_text_equals_the_answer() -> None:
    for fields in ({}, {"stop": ["o w"]}, {"stop": ["worldwide"]}):
        whole = Client().chat(**fields).json["choices"][0]["message"]["content"]
        assert stream_text(Client().chat(stream=True, **fields).chunks) == whole


def test_f31_usage_comes_last_and_alone() -> None:
    chunks = Client().chat(stream=True, stream_options={"include_usage": True}).chunks
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == Client().chat().json["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_f32_f34_heads_agree_and_nothing_counts_unasked() -> None:
    chunks = Client().chat(stream=True).chunks
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    for key in ("id", "created", "model", "system_fingerprint"):
        assert len({chunk[key] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


def test_f41_no_tools_no_calls() -> None:
    for fields in ({"tools": []}, {"tool_choice": "none"}, {"tool_choice": "auto"}):
        assert "tool_calls" not in Client().chat(**fields).json["choices"][0]["message"]


@pytest.mark.parametrize("count", [None, 0, 3])
def test_f47_f48_logprobs_spell_the_content(count: int | None) -> None:
    client = Client(ScriptedEngine(reply="a😀é"))
    choice = client.chat(logprobs=True, top_logprobs=count).json["choices"][0]
    content = choice["logprobs"]["content"]
    spelled = bytes(byte for entry in content for byte in entry["bytes"])
    assert spelled.decode() == choice["message"]["content"] == "a😀é"
    assert content[1]["token"] == "\\xf0" and content[1]["bytes"] == [0xF0]
    for entry in content:
        values = [top["logprob"] for top in entry["top_logprobs"]]
        assert len(values) == (count or 0)
        assert values == sorted(values, reverse=True)
    assert choice["logprobs"]["refusal"] is None


def test_streamed_logprobs_join_to_the_whole() -> None:
    fields = {"logprobs": True, "top_logprobs": 2, "stop": ["ld"]}
    whole = Client().chat(**fields).json["choices"][0]["logprobs"]["content"]
    joined: list[Any] = []
    for chunk in Client().chat(stream=True, **fields).chunks:
        joined += (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    assert joined == whole
    assert bytes(b for entry in joined for b in entry["bytes"]) == b"hello wor"


@pytest.mark.parametrize(
    "limits",
    [
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"max_completion_tokens": 5, "max_tokens": 9},
    ],
)
def test_f49_both_names_of_the_limit(limits: dict[str, int]) -> None:
    reply = Client().chat(**limits).json
    assert reply["usage"]["completion_tokens"] == 5
    assert reply["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_minus_one_is_no_limit(name: str) -> None:
    client = Client()
    assert client.chat(**{name: -1}).status == 200
    assert client.engine.requests[0].params.max_new_tokens is None


def prompt_of(*messages: dict[str, Any], **fields: Any) -> str:
    """What the engine was given, turns marked by `|`."""
    client = Client()
    body = {"model": MODEL, "messages": list(messages), **fields}
    reply = client.post("/v1/chat/completions", body)
    assert reply.status == 200, reply.content
    ids = client.engine.requests[0].prompt_token_ids
    text = client.engine.decode(ids)
    return text.replace(client.engine.decode((TURN,)), "|")


def test_f50_developer_speaks_as_system_and_parts_are_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert prompt_of({"role": "developer", "content": parts}) == prompt_of(
        {"role": "system", "content": "ab"}
    )


def test_f51_dumped_assistant_messages_are_accepted() -> None:
    dumped = {
        "role": "assistant", "content": "b", "refusal": None, "annotations": [], "audio": None,
        "function_call": None, "tool_calls": None, "parsed": None,
    }  # fmt: skip
    text = prompt_of({"role": "user", "content": "a"}, dumped, {"role": "user", "content": "c"})
    assert text == "<bos>|user\na<end>|assistant\nb<end>|user\nc<end>|assistant\n"


def test_tool_turns_in_the_history_are_accepted() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    text = prompt_of(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    )
    assert text == "<bos>|assistant\n<end>|tool\n42<end>|assistant\n"


def test_the_last_message_can_be_continued() -> None:
    messages = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    text = prompt_of(*messages, continue_final_message=True)
    assert text == "<bos>|user\na<end>|assistant\nb"
    assert prompt_of(messages[0], add_generation_prompt=False) == "<bos>|user\na<end>"


def test_fields_without_effect_are_accepted() -> None:
    fields = {
        "store": True, "metadata": {"a": "b"}, "user": "me", "service_tier": "auto", "seed": None,
        "verbosity": "low", "modalities": ["text"], "reasoning_effort": "low",
        "response_format": {"type": "text"}, "parallel_tool_calls": True, "stream_options": None,
    }  # fmt: skip
    assert Client().chat(**fields).status == 200


def test_f82_continuous_usage() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = Client().chat(stream=True, stream_options=options).chunks
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == 12


def test_token_ids_are_returned_when_asked() -> None:
    reply = Client().chat(return_token_ids=True, max_tokens=2).json
    assert reply["choices"][0]["token_ids"] == [104, 101]
    assert len(reply["prompt_token_ids"]) == reply["usage"]["prompt_tokens"]


def test_a_conversation_is_cut_when_asked() -> None:
    client = Client()
    assert client.chat("x" * 600).status == 400
    assert client.chat("x" * 600, truncate_prompt_tokens=-1).status == 200
    assert client.chat("x" * 600, truncate_prompt_tokens=-1, max_tokens=100).status == 200
    assert client.chat("x" * 600, truncate_prompt_tokens=7).status == 200
    prompts = [request.prompt_token_ids for request in client.engine.requests]
    assert [len(prompt) for prompt in prompts] == [511, 412, 7]
    assert prompts[0][-412:] == prompts[1] and prompts[0][-7:] == prompts[2]
