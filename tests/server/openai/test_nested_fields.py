"""Unknown fields inside of a request's objects: passed over and logged once, or refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from server.settings import ServerSettings
from server.unknown_fields import UnknownFields
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL, Client, Reply

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
USER = {"role": "user", "content": "Hi"}
CALL = {
    "id": "call_1",
    "type": "function",
    "index": 0,
    "function": {"name": "f", "arguments": "{}", "parsed_arguments": {"a": 1}},
}
SCHEMA = {
    "type": "object",
    "properties": {"odd": {"type": "string", "x-odd": 1}},
    "odd": {"odd": 1},
}


def tool(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": SCHEMA, **more}}


def form(**more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, **more}}


def message(**more: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": "assistant", "content": "a", **more}]}


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


UNKNOWN: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, message(odd=1), "messages[1].odd"),
    (
        CHAT,
        message(content=[{"type": "text", "text": "a", "odd": 1}]),
        "messages[1].content[0].odd",
    ),
    (CHAT, message(tool_calls=[{**CALL, "odd": 1}]), "messages[1].tool_calls[0].odd"),
    (
        CHAT,
        message(tool_calls=[{**CALL, "function": {"name": "f", "odd": 1}}]),
        "messages[1].tool_calls[0].function.odd",
    ),
    (CHAT, message(function_call={"name": "f", "odd": 1}), "messages[1].function_call.odd"),
    (CHAT, {"tools": [tool(), tool(name="g") | {"odd": 1}]}, "tools[1].odd"),
    (CHAT, {"tools": [tool(odd=1)]}, "tools[0].function.odd"),
    (
        CHAT,
        {
            "tools": [
                {"type": "custom", "custom": {"name": "f", "format": {"type": "text", "odd": 1}}}
            ]
        },
        "tools[0].custom.format.odd",
    ),
    (
        CHAT,
        {
            "tools": [tool()],
            "tool_choice": {"type": "function", "function": {"name": "f", "odd": 1}},
        },
        "tool_choice.function.odd",
    ),
    (CHAT, {"response_format": {"type": "text", "odd": 1}}, "response_format.odd"),
    (CHAT, {"response_format": form(odd=1)}, "response_format.json_schema.odd"),
    (CHAT, {"stream": True, "stream_options": {"odd": 1}}, "stream_options.odd"),
    (COMPLETIONS, {"response_format": form(odd=1)}, "response_format.json_schema.odd"),
    (COMPLETIONS, {"stream": True, "stream_options": {"odd": 1}}, "stream_options.odd"),
    ("/v1/tokenize", message(odd=1), "messages[1].odd"),
    (RESPONSES, item(role="user", content="Hi", odd=1), "input[0].odd"),
    (
        RESPONSES,
        item(role="user", content=[{"type": "input_text", "text": "a", "odd": 1}]),
        "input[0].content[0].odd",
    ),
    (
        RESPONSES,
        item(type="function_call", call_id="c", name="f", arguments="{}", odd=1),
        "input[0].odd",
    ),
    (RESPONSES, item(type="reasoning", summary=[], odd=1), "input[0].odd"),
    (RESPONSES, {"tools": [{"type": "function", "name": "f", "odd": 1}]}, "tools[0].odd"),
    (RESPONSES, {"text": {"odd": 1}}, "text.odd"),
    (
        RESPONSES,
        {"text": {"format": {"type": "json_schema", "schema": SCHEMA, "odd": 1}}},
        "text.format.odd",
    ),
    (RESPONSES, {"reasoning": {"effort": "low", "odd": 1}}, "reasoning.odd"),
]


def send(path: str, fields: dict[str, Any], *, strict: bool) -> Reply:
    needed = {CHAT: {"messages": [USER]}, RESPONSES: {"input": "Hi"}, COMPLETIONS: {"prompt": "Hi"}}
    settings = ServerSettings(strict_fields=strict)
    client = Client(ScriptedEngine(tool_call_format="hermes"), settings)
    return client.post(path, {"model": MODEL, **needed.get(path, {}), **fields})


@pytest.mark.parametrize(("path", "fields", "place"), UNKNOWN)
def test_unknown_fields_are_named_by_their_place_when_strict(
    path: str, fields: dict[str, Any], place: str
) -> None:
    assert send(path, fields, strict=False).status == 200
    reply = send(path, fields, strict=True)
    assert (reply.status, reply.error["code"]) == (400, "unknown_parameter")
    assert reply.error["param"] == place


KNOWN: list[tuple[str, dict[str, Any]]] = [
    (
        CHAT,
        {
            # What a client makes of an answer of ours, and sends again.
            **message(
                refusal=None,
                annotations=[],
                audio=None,
                function_call=None,
                tool_calls=[CALL],
                parsed={"any": {"thing": 1}},
                reasoning_content="Hm.",
                odd=None,
            ),
            "tools": [tool(strict=False, description=None)],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [tool()]},
            },
            "response_format": form(strict=False),
            "logit_bias": {"5": 1},
            "metadata": {"odd": "1"},
            "chat_template_kwargs": {"odd": {"odd": 1}},
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]},
        },
    ),
    (
        RESPONSES,
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                {"type": "web_search_call", "id": "ws_1", "action": {"odd": 1}},
                {"type": "function_call_output", "call_id": "c", "output": "b"},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": None}],
            "text": {"format": {"type": "json_schema", "schema": SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low", "summary": "auto"},
            "metadata": {"odd": "1"},
            "client_metadata": {"odd": {"odd": 1}},
        },
    ),
]


@pytest.mark.parametrize(("path", "fields"), KNOWN)
def test_known_and_free_fields_pass_when_strict(path: str, fields: dict[str, Any]) -> None:
    assert send(path, fields, strict=True).status == 200


def test_answers_can_be_sent_again_when_strict() -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    settings = ServerSettings(strict_fields=True)
    client = Client(ScriptedEngine(reply=call, tool_call_format="hermes"), settings)
    asked = {"model": MODEL, "input": "Hi", "tools": [{"type": "function", "name": "f"}]}
    made = client.post(RESPONSES, asked).json["output"]
    assert client.post(RESPONSES, {**asked, "input": made}).status == 200
    said = client.chat(tools=[tool()]).json["choices"][0]["message"]
    assert client.post(CHAT, {"model": MODEL, "messages": [USER, said]}).status == 200


def test_what_is_refused_by_name_is_not_called_unknown() -> None:
    part = {"type": "image_url", "image_url": {"url": "x"}}
    reply = send(CHAT, message(content=[part]), strict=True)
    assert (reply.error["code"], reply.error["param"]) == (
        "unsupported_parameter",
        "messages[1].content[0]",
    )


def test_a_field_is_logged_once_for_all_places_of_a_list(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unknown = UnknownFields(strict=False)
    with caplog.at_level(logging.WARNING, "diglot.fields"):
        for path in ("messages[0].odd", "messages[17].odd", "odd", "messages[0].odd"):
            unknown.found(path)
    logged = [record.getMessage() for record in caplog.records]
    assert ["messages[].odd" in line for line in logged] == [True, False]
