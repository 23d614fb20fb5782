"""Every bad body has its status, code and parameter, and none of them is a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.errors import EngineFault, EngineUnavailable, Overloaded
from server.settings import ServerSettings
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL, Client

BOTH: list[tuple[dict[str, Any], str, str | None]] = [
    ({"temperature": 2.1}, "decimal_above_max_value", "temperature"),
    ({"temperature": 3}, "decimal_above_max_value", "temperature"),
    ({"temperature": -0.1}, "decimal_below_min_value", "temperature"),
    ({"temperature": "1"}, "invalid_type", "temperature"),
    ({"temperature": True}, "invalid_type", "temperature"),
    ({"temperature": 1e400}, "invalid_value", "temperature"),
    ({"temperature": 10**400}, "invalid_type", "temperature"),
    ({"n": 0}, "integer_below_min_value", "n"),
    ({"n": 129}, "integer_above_max_value", "n"),
    ({"n": 1.5}, "invalid_type", "n"),
    ({"n": True}, "invalid_type", "n"),
    ({"n": "2"}, "invalid_type", "n"),
    ({"top_p": 1.1}, "decimal_above_max_value", "top_p"),
    ({"top_p": []}, "invalid_type", "top_p"),
    ({"presence_penalty": -2.1}, "decimal_below_min_value", "presence_penalty"),
    ({"frequency_penalty": 2.1}, "decimal_above_max_value", "frequency_penalty"),
    ({"repetition_penalty": 0}, "decimal_below_min_value", "repetition_penalty"),
    ({"min_p": 1.5}, "decimal_above_max_value", "min_p"),
    ({"top_k": -2}, "integer_below_min_value", "top_k"),
    ({"top_k": 10**30}, "integer_above_max_value", "top_k"),
    ({"seed": 2**63}, "integer_above_max_value", "seed"),
    ({"seed": "7"}, "invalid_type", "seed"),
    ({"min_tokens": 99, "max_tokens": 5}, "invalid_value", "min_tokens"),
    ({"logit_bias": {"abc": 1}}, "invalid_value", "logit_bias"),
    ({"logit_bias": {"²": 1}}, "invalid_value", "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "invalid_value", "logit_bias"),
    ({"logit_bias": {"5": 101}}, "decimal_above_max_value", "logit_bias"),
    ({"logit_bias": {"5": -101}}, "decimal_below_min_value", "logit_bias"),
    ({"logit_bias": {"5": "1"}}, "invalid_type", "logit_bias.5"),
    ({"logit_bias": {"5": 1e400}}, "decimal_above_max_value", "logit_bias"),
    ({"logit_bias": {"260": 1}}, "invalid_value", "logit_bias"),
    ({"logit_bias": [1]}, "invalid_type", "logit_bias"),
    ({"stop_token_ids": [260]}, "invalid_value", "stop_token_ids"),
    ({"stop_token_ids": ["a"]}, "invalid_type", "stop_token_ids[0]"),
    ({"allowed_token_ids": [-1]}, "invalid_value", "allowed_token_ids"),
    ({"allowed_token_ids": []}, "invalid_value", "allowed_token_ids"),
    ({"stop": ""}, "invalid_value", "stop"),
    ({"stop": ["a", ""]}, "invalid_value", "stop"),
    ({"stop": ["a", 1]}, "invalid_type", "stop[1]"),
    ({"stop": {}}, "invalid_type", "stop"),
    ({"stop": ["a"] * 65}, "invalid_value", "stop"),
    ({"stream": "true"}, "invalid_type", "stream"),
    ({"stream": 1}, "invalid_type", "stream"),
    ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    ({"stream_options": 1, "stream": True}, "invalid_type", "stream_options"),
    (
        {"stream_options": {"include_usage": 1}, "stream": True},
        "invalid_type",
        "stream_options.include_usage",
    ),
    ({"prompt_logprobs": 1, "stream": True}, "invalid_value", "prompt_logprobs"),
    ({"model": 5}, "invalid_type", "model"),
    ({"model": None}, "missing_required_parameter", "model"),
    ({"max_tokens": 100_000}, "context_length_exceeded", None),
    ({"max_tokens": "5"}, "invalid_type", "max_tokens"),
    ({"max_tokens": 10**30}, "integer_above_max_value", "max_tokens"),
    ({"use_beam_search": True}, "unsupported_parameter", "use_beam_search"),
    ({"truncate_prompt_tokens": 0}, "invalid_value", "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": -2}, "integer_below_min_value", "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": "5"}, "invalid_type", "truncate_prompt_tokens"),
    ({"truncation_side": "top"}, "invalid_value", "truncation_side"),
    ({"truncate_prompt_tokens": -1, "max_tokens": 512}, "context_length_exceeded", None),
    ({"bad_words": ["x"]}, "unsupported_parameter", "bad_words"),
    ({"cache_salt": "x"}, "unsupported_parameter", "cache_salt"),
]

COMPLETIONS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"prompt": []}, "invalid_value", "prompt"),
    ({"prompt": [[]]}, "invalid_value", "prompt"),
    ({"prompt": ["a", 1]}, "invalid_value", "prompt"),
    ({"prompt": [1, "a"]}, "invalid_value", "prompt"),
    ({"prompt": [[1], 2]}, "invalid_value", "prompt"),
    ({"prompt": [True]}, "invalid_value", "prompt"),
    ({"prompt": [1, False]}, "invalid_value", "prompt"),
    ({"prompt": [None]}, "invalid_value", "prompt"),
    ({"prompt": [-1]}, "invalid_value", "prompt"),
    ({"prompt": [260]}, "invalid_value", "prompt"),
    ({"prompt": [1.5]}, "invalid_value", "prompt"),
    ({"prompt": [{}]}, "invalid_value", "prompt"),
    ({"prompt": {}}, "invalid_type", "prompt"),
    ({"prompt": 5}, "invalid_type", "prompt"),
    ({"suffix": "x"}, "unsupported_parameter", "suffix"),
    ({"logprobs": True}, "invalid_type", "logprobs"),
    ({"logprobs": 21}, "integer_above_max_value", "logprobs"),
    ({"logprobs": -1}, "integer_below_min_value", "logprobs"),
    ({"max_tokens": -1}, "integer_below_min_value", "max_tokens"),
    ({"best_of": 1, "n": 2}, "integer_below_min_value", "best_of"),
    ({"best_of": 21}, "integer_above_max_value", "best_of"),
    ({"best_of": 2, "stream": True}, "invalid_value", "best_of"),
    ({"echo": 1}, "invalid_type", "echo"),
    ({"prompt": "x" * 512}, "context_length_exceeded", "prompt"),
    ({"messages": [{"role": "user", "content": "a"}]}, "unsupported_parameter", "messages"),
    ({"tools": [{}]}, "unsupported_parameter", "tools"),
]


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a"}, fields]}


CHAT: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": None}, "missing_required_parameter", "messages"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": "a"}, "invalid_type", "messages"),
    ({"messages": [1]}, "invalid_type", "messages[0]"),
    (message(content="a"), "missing_required_parameter", "messages[1].role"),
    (message(role="king", content="a"), "invalid_value", "messages[1].role"),
    (message(role=1, content="a"), "invalid_type", "messages[1].role"),
    (message(role="user"), "missing_required_parameter", "messages[1].content"),
    (message(role="assistant"), "missing_required_parameter", "messages[1].content"),
    (message(role="user", content=1), "invalid_type", "messages[1].content"),
    (message(role="user", content=[1]), "invalid_type", "messages[1].content[0]"),
    (
        message(role="user", content=[{}]),
        "missing_required_parameter",
        "messages[1].content[0].type",
    ),
    (
        message(role="user", content=[{"type": "text", "text": 1}]),
        "invalid_type",
        "messages[1].content[0].text",
    ),
    (
        message(role="user", content=[{"type": "image_url", "image_url": {"url": "x"}}]),
        "unsupported_parameter",
        "messages[1].content[0]",
    ),
    (message(role="tool", content="a"), "missing_required_parameter", "messages[1].tool_call_id"),
    (message(role="assistant", tool_calls=[1]), "invalid_type", "messages[1].tool_calls[0]"),
    (
        message(role="assistant", tool_calls=[{"type": "function", "function": {}}]),
        "missing_required_parameter",
        "messages[1].tool_calls[0].function.name",
    ),
    ({"tools": {}}, "invalid_type", "tools"),
    ({"tools": [1]}, "invalid_type", "tools[0]"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
    ({"tools": [{"type": "search"}]}, "unsupported_parameter", "tools[0].type"),
    ({"tools": [{"function": {}}]}, "missing_required_parameter", "tools[0].function.name"),
    ({"tools": [{"function": {"name": 1}}]}, "invalid_type", "tools[0].function.name"),
    ({"tools": [{"function": {"name": "a b"}}]}, "invalid_value", "tools[0].function.name"),
    (
        {"tools": [{"function": {"name": "f", "parameters": []}}]},
        "invalid_type",
        "tools[0].function.parameters",
    ),
    (
        {"tools": [{"function": {"name": "f", "strict": 1}}]},
        "invalid_type",
        "tools[0].function.strict",
    ),
    ({"tools": [{"function": {"name": "f"}}]}, "unsupported_parameter", "tools"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ({"tool_choice": "some"}, "invalid_value", "tool_choice"),
    ({"functions": [{}]}, "unsupported_parameter", "functions"),
    ({"input": "a"}, "unsupported_parameter", "input"),
    ({"best_of": 2}, "unsupported_parameter", "best_of"),
    ({"modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
    ({"audio": {}}, "unsupported_parameter", "audio"),
    ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    ({"logprobs": 1}, "invalid_type", "logprobs"),
    ({"top_logprobs": 5}, "invalid_value", "top_logprobs"),
    ({"top_logprobs": 21, "logprobs": True}, "integer_above_max_value", "top_logprobs"),
    ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
    ({"max_completion_tokens": 0}, "integer_below_min_value", "max_completion_tokens"),
    (
        {"add_generation_prompt": True, "continue_final_message": True},
        "invalid_value",
        "continue_final_message",
    ),
    ({"chat_template": "x"}, "unsupported_parameter", "chat_template"),
    ({"chat_template_kwargs": []}, "invalid_type", "chat_template_kwargs"),
    ({"messages": [{"role": "user", "content": "x" * 512}]}, "context_length_exceeded", "messages"),
]


def check(path: str, body: dict[str, Any], code: str, param: str | None) -> None:
    text = json.dumps(body).replace("Infinity", "1e400")
    options: Any = {"content": text, "headers": {"content-type": "application/json"}}
    reply = CLIENT.request("POST", path, **options)
    assert reply.status == 400, reply.content
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert reply.error["type"] == "invalid_request_error"
    assert (reply.error["code"], reply.error["param"]) == (code, param or reply.error["param"])
    assert not CLIENT.engine.requests


CLIENT = Client()


@pytest.mark.parametrize(("fields", "code", "param"), BOTH + COMPLETIONS)
def test_f14_to_f18_bad_completions(fields: dict[str, Any], code: str, param: str | None) -> None:
    check("/v1/completions", {"model": MODEL, "prompt": "a", **fields}, code, param)


@pytest.mark.parametrize(("fields", "code", "param"), BOTH + CHAT)
def test_f14_to_f18_bad_chats(fields: dict[str, Any], code: str, param: str | None) -> None:
    messages = [{"role": "user", "content": "a"}]
    check("/v1/chat/completions", {"model": MODEL, "messages": messages, **fields}, code, param)


def test_f15_the_message_names_bound_and_value() -> None:
    assert CLIENT.complete(temperature=2.1).error["message"] == (
        "Invalid 'temperature': decimal above maximum value. "
        "Expected a value <= 2, but got 2.1 instead."
    )


def test_messages_of_other_bounds() -> None:
    assert "a value > 0, but got 0" in CLIENT.complete(repetition_penalty=0).error["message"]
    assert f"a value <= {2**63 - 1}, but" in CLIENT.complete(seed=2**63).error["message"]


def test_f54_an_empty_chat_lacks_a_field() -> None:
    reply = CLIENT.post("/v1/chat/completions", {})
    assert (reply.status, reply.error["code"]) == (400, "missing_required_parameter")


def test_f55_unknown_model() -> None:
    reply = CLIENT.complete(model="other")
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("stream", [False, True])
def test_f57_too_long_is_refused_before_any_stream(stream: bool) -> None:
    reply = CLIENT.chat("x" * 600, stream=stream)
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert "maximum context length is 512 tokens" in reply.error["message"]


def test_f52_unknown_fields_pass_unless_strict() -> None:
    assert Client().chat(foo=1).status == 200
    strict = Client(settings=ServerSettings(strict_fields=True))
    reply = strict.chat(foo=1)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        400,
        "unknown_parameter",
        "foo",
    )
    assert strict.chat(user="me", n_predict=3, foo=None).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (Overloaded("Full.", retry_after=7), 429, "7"),
        (EngineUnavailable("restarting"), 503, "2"),
        (EngineFault("The engine died."), 500, None),
    ],
)
def test_f58_f61_f88_early_failures_have_a_status(
    error: Any, status: int, retry: str | None, stream: bool
) -> None:
    for engine in (ScriptedEngine(refuse_with=error), ScriptedEngine(fail_with=error)):
        client = Client(engine)
        reply = client.chat(stream=stream, n=2)
        assert reply.status == status
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers.get("retry-after") == retry
        assert reply.headers.get("retry-after-ms") == (retry and f"{retry}000")
        assert client.state is not None and client.state.admission.idle


def test_f59_late_failures_are_events() -> None:
    engine = ScriptedEngine(fail_with=EngineFault("The engine died."), fail_after=3)
    for reply in (Client(engine).chat(stream=True), Client(engine).complete(stream=True)):
        assert reply.status == 200
        error = reply.chunks[-1]["error"]
        assert error == {
            "message": "The engine died.",
            "type": "server_error",
            "param": None,
            "code": "server_error",
        }


def test_a_bug_in_a_stream_is_an_event_too(caplog: Any) -> None:
    reply = Client(ScriptedEngine(fail_with=KeyError("secret"), fail_after=3)).chat(stream=True)
    assert "secret" not in reply.content.decode()
    assert reply.chunks[-1]["error"]["type"] == "server_error"


def test_a_bug_before_the_answer_says_nothing() -> None:
    reply = Client(ScriptedEngine(fail_with=KeyError("secret"))).chat()
    assert (reply.status, reply.error["type"]) == (500, "server_error")
    assert "secret" not in reply.content.decode()
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.headers["x-should-retry"] == "false"
