"""Functions in the Gemini dialect, against a scripted engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import ChatPrompt
from tests.fakes import ScriptedEngine
from tests.server.gemini.conftest import Serve
from tests.server.gemini.helpers import COUNT, GENERATE, SSE, STREAM, ask, events, user

CITY = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather", "parameters": CITY}
PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def scripted(reply: str = PARIS) -> ScriptedEngine:
    return ScriptedEngine(reply=reply, tool_call_format="hermes")


def with_tools(*declarations: dict[str, Any], mode: str = "", **config: Any) -> dict[str, Any]:
    calling = {"mode": mode, **config} if mode or config else None
    return ask() | {
        "tools": [{"functionDeclarations": list(declarations or [WEATHER])}],
        "toolConfig": {"functionCallingConfig": calling},
    }


def template_args(engine: ScriptedEngine) -> dict[str, Any]:
    prompt = engine.prompts[0]
    assert isinstance(prompt, ChatPrompt)
    return prompt.template_args


def call_of(part: dict[str, Any]) -> dict[str, Any]:
    call = dict(part["functionCall"])
    assert call.pop("id")
    return call


def test_g50_a_call_is_one_whole_part(serve: Serve) -> None:
    answer = serve(scripted(f"Let me see.\n{PARIS}\n{PARIS}")).post(GENERATE, json=with_tools())
    candidate = answer.json()["candidates"][0]
    words, *calls = candidate["content"]["parts"]
    assert words == {"text": "Let me see."}
    assert [call_of(part) for part in calls] == [
        {"name": "get_weather", "args": {"city": "Paris"}}
    ] * 2
    assert calls[0]["functionCall"]["id"] != calls[1]["functionCall"]["id"]
    assert candidate["finishReason"] == "STOP"


@pytest.mark.parametrize("path", [SSE, STREAM])
def test_g50_streamed_calls_equal_unstreamed(serve: Serve, path: str) -> None:
    client = serve(scripted(f"Well.\n{PARIS}\n{PARIS}"))
    body = client.post(path, json=with_tools()).content
    chunks = events(body) if path == SSE else json.loads(body)
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts) == "Well."
    calls = [call_of(part) for part in parts if "functionCall" in part]
    assert calls == [{"name": "get_weather", "args": {"city": "Paris"}}] * 2
    reasons = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
    assert reasons[-1] == "STOP" and not any(reasons[:-1])


def test_g47_both_kinds_of_schema_give_the_same_tool(serve: Serve) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    grammars: set[str] = set()
    for declaration in (
        WEATHER,
        {**WEATHER, "parameters": None, "parametersJsonSchema": schema},
        {**WEATHER, "parameters": None, "parameters_json_schema": schema},
    ):
        engine = scripted()
        assert serve(engine).post(GENERATE, json=with_tools(declaration)).status_code == 200
        grammar = engine.requests[0].params.grammar
        assert grammar is not None
        grammars.add(grammar.text.replace('"$schema":"' + str(schema["$schema"]) + '",', ""))
        assert template_args(engine)["tools"][0]["function"]["name"] == "get_weather"
    assert len(grammars) == 1


def test_g48_g49_modes(serve: Serve) -> None:
    clock = {"name": "clock"}

    def grammar(mode: str, *names: str) -> str:
        engine = scripted()
        body = with_tools(WEATHER, clock, mode=mode, allowedFunctionNames=list(names))
        assert serve(engine).post(GENERATE, json=body).status_code == 200
        found = engine.requests[0].params.grammar
        return "" if found is None else found.text

    assert "TEXT" in grammar("AUTO") and "TEXT" in grammar("VALIDATED")
    assert "TEXT" not in grammar("ANY") and "clock" in grammar("any")
    assert "clock" not in grammar("ANY", "get_weather")
    assert "clock" not in grammar("VALIDATED", "get_weather")
    assert "clock" in grammar("AUTO", "get_weather")
    assert grammar("NONE") == ""


def test_g48_g49_modes_that_make_no_sense(serve: Serve) -> None:
    client = serve(scripted())
    error = client.post(GENERATE, json=with_tools(mode="ANY", allowedFunctionNames=["no"])).json()
    path = "tool_config.function_calling_config.allowed_function_names"
    assert error["error"]["details"][0]["fieldViolations"][0]["field"] == path


def test_g49_none_shows_no_tools(serve: Serve) -> None:
    engine = scripted()
    answer = serve(engine).post(GENERATE, json=with_tools(mode="NONE"))
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": PARIS}]
    assert "tools" not in template_args(engine)


@pytest.mark.parametrize("call_id", ["", "c1"])
@pytest.mark.parametrize(
    ("response", "content"),
    [
        ({"output": "18 C"}, "18 C"),
        ({"output": {"t": 18}}, '{"t":18}'),
        ({"result": 18}, '{"result":18}'),
        ({"error": "no"}, '{"error":"no"}'),
        ({}, "{}"),
        (None, "{}"),
    ],
)
def test_g51_responses_reach_the_template(
    serve: Serve, call_id: str, response: object, content: str
) -> None:
    engine = scripted("It is 18 degrees.")
    call = {"name": "get_weather", "args": {"city": "Paris"}, "id": call_id}
    turns = [
        user("Weather?"),
        {"role": "model", "parts": [{"text": "Hm."}, {"functionCall": call}]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "get_weather", "id": call_id, "response": response}}
            ],
        },
    ]
    assert serve(engine).post(GENERATE, json=with_tools() | {"contents": turns}).status_code == 200
    prompt = engine.prompts[0]
    assert isinstance(prompt, ChatPrompt)
    _, assistant, tool = prompt.messages
    [made] = assistant["tool_calls"]  # type: ignore[misc]
    assert made["function"] == {"name": "get_weather", "arguments": {"city": "Paris"}}
    assert assistant["content"] == "Hm."
    assert (tool["role"], tool["content"]) == ("tool", content)
    assert tool["tool_call_id"] == made["id"]


def test_calls_of_one_name_are_answered_in_order(serve: Serve) -> None:
    engine = scripted()
    calls = [{"functionCall": {"name": "f", "args": {"n": n}}} for n in (1, 2)]
    answers = [{"functionResponse": {"name": "f", "response": {"output": n}}} for n in (1, 2)]
    turns = [{"role": "model", "parts": calls}, {"role": "function", "parts": answers}]
    serve(engine).post(GENERATE, json={"contents": turns})
    prompt = engine.prompts[0]
    assert isinstance(prompt, ChatPrompt)
    assistant, *tools = prompt.messages
    ids = [call["id"] for call in assistant["tool_calls"]]  # type: ignore[union-attr]
    assert [tool["tool_call_id"] for tool in tools] == ids and len(set(ids)) == 2


def test_a_cut_call_is_max_tokens_and_a_broken_one_malformed(serve: Serve) -> None:
    body = with_tools() | {"generationConfig": {"maxOutputTokens": 60}}
    cut = serve(scripted()).post(GENERATE, json=body).json()["candidates"][0]
    assert cut["finishReason"] == "MAX_TOKENS" and cut["content"]["parts"] == [{"text": ""}]
    broken = PARIS.replace('"Paris"', "Paris")
    candidate = serve(scripted(broken)).post(GENERATE, json=with_tools()).json()["candidates"][0]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_g55_tools_are_counted(serve: Serve) -> None:
    engine = scripted()
    serve(engine).post(COUNT, json={"generateContentRequest": with_tools()})
    assert template_args(engine)["tools"]


THINKING = "<think>\nHm, hm.\n</think>\n\nYes."


def test_g54_thoughts_are_parts_when_wanted(serve: Serve) -> None:
    engine = ScriptedEngine(reply=THINKING, reasons=True)
    client = serve(engine)
    plain = client.post(GENERATE, json=ask()).json()
    assert plain["candidates"][0]["content"]["parts"] == [{"text": "Yes."}]
    usage = plain["usageMetadata"]
    assert usage["thoughtsTokenCount"] == len("Hm, hm.")
    total = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert usage["totalTokenCount"] == total
    shown = client.post(GENERATE, json=ask(thinkingConfig={"includeThoughts": True})).json()
    assert shown["candidates"][0]["content"]["parts"] == [
        {"text": "Hm, hm.", "thought": True},
        {"text": "Yes."},
    ]


def test_g54_streamed_thoughts(serve: Serve) -> None:
    client = serve(ScriptedEngine(reply=THINKING, reasons=True))
    body = ask(thinkingConfig={"includeThoughts": True})
    chunks = events(client.post(SSE, json=body).content)
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    thoughts = "".join(part["text"] for part in parts if part.get("thought"))
    words = "".join(part["text"] for part in parts if not part.get("thought"))
    assert (thoughts, words) == ("Hm, hm.", "Yes.")
    counts = [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks]
    assert counts == sorted(counts)


@pytest.mark.parametrize(
    ("config", "args"),
    [
        ({"thinkingBudget": 0}, {"enable_thinking": False}),
        ({"thinkingBudget": -1}, {}),
        ({"thinking_budget": 8192, "includeThoughts": True}, {}),
        ({"thinkingLevel": "low"}, {"enable_thinking": True, "reasoning_effort": "low"}),
        ({"thinkingLevel": 4}, {"enable_thinking": True, "reasoning_effort": "high"}),
        ({"thinkingLevel": "of the future"}, {}),
        ({}, {}),
    ],
)
def test_g53_thinking_config_reaches_the_template(
    serve: Serve, config: dict[str, Any], args: dict[str, Any]
) -> None:
    engine = ScriptedEngine()
    assert serve(engine).post(GENERATE, json=ask(thinkingConfig=config)).status_code == 200
    assert template_args(engine) == args
