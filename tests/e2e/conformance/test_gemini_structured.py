"""Statements of the Gemini contract on structured output and functions, against a real process."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.conformance.wire import Api, ask, text_of

UPPER = {
    "type": "OBJECT",
    "properties": {
        "name": {"type": "STRING", "maxLength": "8"},
        "age": {"type": "INTEGER", "minimum": 0, "maximum": 99},
        "pets": {
            "type": "ARRAY",
            "items": {"type": "STRING", "enum": ["cat", "dog"]},
            "maxItems": "2",
        },
    },
    "required": ["name", "age", "pets"],
}
JSON = {"responseMimeType": "application/json", "maxOutputTokens": 150}
CITY = {
    "type": "OBJECT",
    "properties": {"city": {"type": "STRING", "description": "The city"}},
    "required": ["city"],
}
DECLARATION = {
    "name": "get_weather",
    "description": "Get the current weather in a given city.",
    "parameters": CITY,
}
QUESTION = "What is the weather in Paris?"


def lower(schema: Any) -> Any:
    """The schema with JSON schema's own names of types."""
    if isinstance(schema, list):
        return [lower(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: value.lower() if key == "type" else lower(value) for key, value in schema.items()}


def made(api: Api, seed: int = 1, **config: Any) -> str:
    return text_of(api.generate(ask("Make one up.", **JSON, seed=seed, temperature=1.5, **config)))


def with_tools(declaration: dict[str, Any] = DECLARATION, **calling: Any) -> dict[str, Any]:
    return ask(QUESTION, temperature=0, maxOutputTokens=200) | {
        "tools": [{"functionDeclarations": [declaration]}],
        "toolConfig": {"functionCallingConfig": calling},
    }


def calls_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    parts = answer["candidates"][0]["content"]["parts"]
    return [part["functionCall"] for part in parts if "functionCall" in part]


def test_g42_json_without_a_schema(api: Api) -> None:
    whole = 0
    for seed in range(8):
        answer = api.generate(ask("Some JSON.", **JSON, seed=seed, temperature=1.0))
        if answer["candidates"][0]["finishReason"] == "STOP":
            json.loads(text_of(answer))
            whole += 1
    assert whole, "the rest was cut"


def test_g43_all_spellings_of_a_schema_bind_alike(api: Api) -> None:
    for seed in (1, 2):
        texts = {
            made(api, seed, responseSchema=UPPER),
            made(api, seed, responseSchema=lower(UPPER)),
            made(api, seed, responseJsonSchema=lower(UPPER)),
            made(api, seed, responseJsonSchema=UPPER),
            made(api, seed, _responseJsonSchema=UPPER),
        }
        assert len(texts) == 1
        value = json.loads(texts.pop())
        assert list(value) == ["name", "age", "pets"] and len(value["pets"]) <= 2


def test_g44_property_ordering(api: Api) -> None:
    for key in ("propertyOrdering", "property_ordering"):
        schema = {**UPPER, key: ["pets", "name", "age"]}
        assert list(json.loads(made(api, responseSchema=schema))) == ["pets", "name", "age"]


def test_g45_schemas_that_contradict(api: Api) -> None:
    assert api.problem(ask(**JSON, responseSchema=UPPER, responseJsonSchema=UPPER))
    assert api.problem(ask(responseSchema=UPPER, responseMimeType="text/plain"))


def test_g46_an_enum_is_bare(api: Api) -> None:
    schema = {"type": "STRING", "enum": ["red", "green", "blue"]}
    config = {"responseMimeType": "text/x.enum", "responseSchema": schema}
    assert text_of(api.generate(ask("A colour?", **config))) in schema["enum"]
    quoted = api.generate(ask("A colour?", **JSON, responseSchema=schema))
    assert json.loads(text_of(quoted)) in schema["enum"]


def test_g47_g50_declarations(api: Api) -> None:
    schema = lower(CITY) | {"additionalProperties": False, "$schema": "http://json-schema.org/x"}
    other = {**DECLARATION, "parameters": None, "parametersJsonSchema": schema}
    for declaration in (DECLARATION, other):
        answer = api.generate(with_tools(declaration, mode="ANY"))
        [call] = calls_of(answer)
        assert call["name"] == "get_weather" and isinstance(call["args"]["city"], str)
        assert call["id"] and answer["candidates"][0]["finishReason"] == "STOP"
    [call] = calls_of(api.generate(with_tools()))
    assert call["args"] == {"city": "Paris"}
    same = {**DECLARATION, "parameters": None, "parametersJsonSchema": lower(CITY)}
    answers = [api.generate(with_tools(each)) for each in (DECLARATION, same)]
    assert len({answer["usageMetadata"]["promptTokenCount"] for answer in answers}) == 1


def test_g50_ids_of_calls_are_unique(api: Api) -> None:
    calls = [c for _ in range(6) for c in calls_of(api.generate(with_tools(mode="ANY")))]
    assert len({call["id"] for call in calls}) == len(calls) >= 6


def test_g49_none_never_calls(api: Api) -> None:
    for seed in range(8):
        body = with_tools(mode="NONE")
        body["generationConfig"] |= {"temperature": 1.5, "seed": seed, "maxOutputTokens": 60}
        assert not calls_of(api.generate(body))


def test_g51_responses_of_any_form(api: Api) -> None:
    body = with_tools()
    call = calls_of(api.generate(body))[0]
    for response in ({"output": {"temperature": 18}}, {"result": "18"}, {"error": "no"}, {}):
        for call_id in (call["id"], None):
            turns = [
                *body["contents"],
                {"role": "model", "parts": [{"functionCall": {**call, "id": call_id}}]},
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "name": call["name"],
                                "id": call_id,
                                "response": response,
                            }
                        }
                    ],
                },
            ]
            assert api.generate({**body, "contents": turns})


def test_g54_no_thoughts_without_reasoning(api: Api) -> None:
    answer = api.generate(ask(thinkingConfig={"includeThoughts": True}, temperature=0))
    assert "thoughtsTokenCount" not in answer["usageMetadata"]
    assert all(not p.get("thought") for p in answer["candidates"][0]["content"]["parts"])


def test_g55_counting(api: Api) -> None:
    request = with_tools()
    counted = [
        api.post("/v1beta/models/diglot-mini:countTokens", body).json()["totalTokens"]
        for body in (
            {"generateContentRequest": {"model": "models/diglot-mini", **request}},
            {"contents": [], "generateContentRequest": request},
        )
    ]
    plain = api.post("/v1beta/models/diglot-mini:countTokens", ask()).json()["totalTokens"]
    usage = api.generate(request)["usageMetadata"]
    assert counted == [usage["promptTokenCount"]] * 2
    assert plain == api.generate(ask())["usageMetadata"]["promptTokenCount"]
