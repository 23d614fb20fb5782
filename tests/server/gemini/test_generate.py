"""generateContent, whole answers: what reaches the engine and what comes back."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from engine.types import GenerationRequest
from tests.fakes import ScriptedEngine
from tests.server.gemini.conftest import Serve
from tests.server.gemini.helpers import COUNT, GENERATE, ask, prompt_text, text_of, user


def test_g1_g20_a_bare_request_is_answered(client: TestClient) -> None:
    answer = client.post(GENERATE, json={"contents": [{"parts": [{"text": "hi"}]}]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    body = answer.json()
    assert body["candidates"] == [
        {
            "content": {"parts": [{"text": "hello world"}], "role": "model"},
            "index": 0,
            "finishReason": "STOP",
        }
    ]
    assert body["modelVersion"] == "diglot-mini"
    assert body["responseId"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/diglot-mini",
        "/v1/models/diglot-mini",
        "/v1alpha/models/diglot-mini",
        "/models/diglot-mini",
        "/v1beta/diglot-mini",
        "/v1beta/tunedModels/diglot-mini",
        "/v1beta/models/gemini-2.5-flash",
        "/v1beta/models/gemma-4-31b-it",
        "/v1beta/models/something-latest",
    ],
)
def test_g2_all_versions_and_google_names_give_the_same_answer(
    client: TestClient, path: str
) -> None:
    body = client.post(f"{path}:generateContent", json=ask()).json()
    assert text_of(body) == "hello world"
    assert body["modelVersion"] == "diglot-mini"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("qwen3:8b", "/v1beta/models/qwen3:8b:generateContent"),
        ("qwen3:8b", "/v1beta/models/qwen3%3A8b%3AgenerateContent"),
        ("Qwen/Qwen3-8B", "/v1beta/models/Qwen/Qwen3-8B:generateContent"),
        ("Qwen/Qwen3-8B", "/v1beta/models/Qwen%2FQwen3-8B:generateContent"),
        ("Qwen/Qwen3-8B", "/v1beta/Qwen/Qwen3-8B:generateContent"),
    ],
)
def test_g3_g4_model_ids_with_slashes_and_colons_route(serve: Serve, name: str, path: str) -> None:
    client = serve(ScriptedEngine(served_name=name), served_model_name=[name])
    assert client.post(path, json=ask()).json()["modelVersion"] == name


def test_g7_a_gapic_alt_is_plain_json(client: TestClient) -> None:
    answer = client.post(f"{GENERATE}?%24alt=json%3Benum-encoding%3Dint", json=ask())
    assert text_of(answer.json()) == "hello world"


@pytest.mark.parametrize("cached", [0, 2])
def test_g18_usage_adds_up(serve: Serve, cached: int) -> None:
    engine = ScriptedEngine("abc", cached_tokens=cached)
    usage = serve(engine).post(GENERATE, json=ask()).json()["usageMetadata"]
    prompt = len(engine.requests[0].prompt_token_ids)
    expected = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": 4,
        "totalTokenCount": prompt + 4,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    assert usage == expected | ({"cachedContentTokenCount": cached} if cached else {})


def test_g19_keys_are_camel_case_and_nothing_is_null(client: TestClient) -> None:
    body = ask(responseLogprobs=True, logprobs=2, candidateCount=2)
    answer = client.post(GENERATE, json=body).json()

    def check(value: object) -> None:
        assert value is not None
        if isinstance(value, dict):
            assert all("_" not in key for key in value)
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                check(item)

    check(answer)


SNAKE: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"inline_data": {"mime_type": "text/plain", "data": "aGk"}}]}
    ],
    "system_instruction": {"parts": {"text": "be brief"}},
    "generation_config": {
        "max_output_tokens": 3,
        "stop_sequences": ["x"],
        "top_p": 0.5,
        "response_modalities": ["TEXT"],
    },
    "safety_settings": [{"category": 7, "threshold": 4}],
}
CAMEL: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"inlineData": {"mimeType": "text/plain", "data": "aGk="}}]}
    ],
    "systemInstruction": {"parts": [{"text": "be brief"}]},
    "generationConfig": {
        "maxOutputTokens": 3,
        "stopSequences": ["x"],
        "topP": 0.5,
        "responseModalities": ["TEXT"],
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
}
MIXED: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"inlineData": {"mime_type": "text/plain", "data": "aGk="}}]}
    ],
    "system_instruction": {"parts": [{"text": "be brief"}]},
    "generationConfig": {
        "max_output_tokens": 3.0,
        "stopSequences": ["x"],
        "top_p": "0.5",
        "responseModalities": [1],
    },
}


def test_g21_g22_g23_g24_every_spelling_means_the_same(serve: Serve) -> None:
    engine = ScriptedEngine()
    client = serve(engine)
    for body in (SNAKE, CAMEL, MIXED):
        assert client.post(GENERATE, json=body).status_code == 200
    first, *others = engine.requests
    assert prompt_text(first.prompt_token_ids) == "<system\nbe brief><user\nhi><assistant\n"
    assert (first.params.max_new_tokens, first.params.stop, first.params.top_p) == (3, ("x",), 0.5)
    for request in others:
        assert request.params == first.params
        assert request.prompt_token_ids == first.prompt_token_ids


def test_every_field_of_the_table_reaches_the_engine(serve: Serve) -> None:
    engine = ScriptedEngine()
    config = {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 0.25,
        "topK": 40.0,
        "seed": "7",
        "presencePenalty": 1,
        "frequencyPenalty": -1,
        "stopSequences": ["a", "b"],
        "responseLogprobs": True,
        "logprobs": 3,
        "logitBias": {"65": -100},
        "minP": 0.125,
        "repetitionPenalty": 1.5,
        "ignoreEos": True,
        "minTokens": 2,
    }
    assert serve(engine).post(GENERATE, json=ask(**config)).status_code == 200
    params = engine.requests[0].params
    assert params.max_new_tokens == 9
    assert (params.temperature, params.top_p, params.top_k, params.seed) == (0.5, 0.25, 40, 7)
    assert (params.presence_penalty, params.frequency_penalty) == (1, -1)
    assert params.stop == ("a", "b")
    assert params.logprobs == 3
    assert params.logit_bias == {65: -100}
    assert (params.min_p, params.repetition_penalty, params.min_tokens) == (0.125, 1.5, 2)
    assert params.ignore_eos


def test_g25_g26_nulls_and_empty_containers_are_unset(serve: Serve) -> None:
    engine = ScriptedEngine()
    client = serve(engine)
    bodies = [
        ask() | {"generationConfig": {}, "safetySettings": [], "tools": [], "toolConfig": {}},
        ask() | {"tools": [{"functionDeclarations": []}], "cachedContent": ""},
        ask()
        | {
            "generationConfig": None,
            "systemInstruction": None,
            "tools": None,
            "cachedContent": None,
        },
        ask(temperature=None, stopSequences=None, responseSchema=None, topK=None),
    ]
    for body in bodies:
        assert client.post(GENERATE, json=body).status_code == 200
    assert all(request.params == engine.requests[0].params for request in engine.requests)


def test_g27_unknown_fields_are_ignored_unless_strict(serve: Serve) -> None:
    body = ask(temperture=1) | {"surprise": {"deep": 1}}
    assert serve().post(GENERATE, json=body).status_code == 200
    answer = serve(strict_fields=True).post(GENERATE, json=ask(temperture=1))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["message"].endswith(
        "Unknown name \"temperture\" at 'generation_config': Cannot find field."
    )
    assert error["details"][0]["fieldViolations"][0]["field"] == "generation_config"


def test_g33_one_token_ends_with_max_tokens(client: TestClient) -> None:
    body = client.post(GENERATE, json=ask(maxOutputTokens=1)).json()
    assert text_of(body) == "h"
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert body["usageMetadata"]["candidatesTokenCount"] == 1


def test_more_tokens_than_fit_are_clamped_to_the_context(serve: Serve) -> None:
    engine = ScriptedEngine("x" * 100, max_model_len=40)
    body = serve(engine).post(GENERATE, json=ask(maxOutputTokens=10**6)).json()
    room = 40 - len(engine.requests[0].prompt_token_ids)
    assert engine.requests[0].params.max_new_tokens == room
    assert text_of(body) == "x" * room
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"


@pytest.mark.parametrize(
    "config",
    [
        {"presencePenalty": 0, "frequencyPenalty": 0},
        {"temperature": 0},
        {"temperature": 2.0},
        {"topK": 0},
        {"topP": 0},
        {"seed": -(2**31)},
        {"seed": 2**63 - 1},
        {"responseLogprobs": True, "logprobs": 20},
        {"responseLogprobs": True, "logprobs": 0},
        {"responseLogprobs": False},
        {"candidateCount": 8},
        {"stopSequences": ["1", "2", "3", "4", "5"]},
        {"responseMimeType": "text/plain"},
        {"responseModalities": ["text"]},
        {"responseModalities": []},
        {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 8192}},
        {"thinkingConfig": {"thinkingLevel": "high", "thinking_budget": 0}},
        {"mediaResolution": "MEDIA_RESOLUTION_LOW", "speechConfig": {}, "audioTimestamp": True},
    ],
)
def test_g34_g35_g36_g53_legal_values_are_accepted(serve: Serve, config: dict[str, Any]) -> None:
    assert serve(strict_fields=True).post(GENERATE, json=ask(**config)).status_code == 200


def test_g37_a_stop_sequence_ends_the_text_before_itself(client: TestClient) -> None:
    stops = ["nope", "wor", "never", "not", "no"]
    body = client.post(GENERATE, json=ask(stopSequences=stops)).json()
    assert text_of(body) == "hello "
    assert body["candidates"][0]["finishReason"] == "STOP"


def test_g38_two_candidates_have_their_indexes(serve: Serve) -> None:
    def reply(request: GenerationRequest) -> str:
        return "one" if request.request_id.endswith("-0") else "another"

    engine = ScriptedEngine(reply)
    body = serve(engine).post(GENERATE, json=ask(candidateCount=2, seed=1)).json()
    assert [candidate["index"] for candidate in body["candidates"]] == [0, 1]
    assert [text_of(body, 0), text_of(body, 1)] == ["one", "another"]
    assert [c["finishReason"] for c in body["candidates"]] == ["STOP", "STOP"]
    assert body["usageMetadata"]["candidatesTokenCount"] == 4 + 8
    assert len({request.params.seed for request in engine.requests}) == 2


def test_g40_g41_logprobs_of_every_generated_token(client: TestClient) -> None:
    body = client.post(GENERATE, json=ask(responseLogprobs=True, logprobs=3)).json()
    candidate = body["candidates"][0]
    result = candidate["logprobsResult"]
    chosen = [entry["logProbability"] for entry in result["chosenCandidates"]]
    tops = [entry["candidates"] for entry in result["topCandidates"]]
    assert "".join(entry["token"] for entry in result["chosenCandidates"]) == "hello world"
    assert len(chosen) == len(tops) == len("hello world")
    for top in tops:
        values = [entry["logProbability"] for entry in top]
        assert len(top) == 3 and values == sorted(values, reverse=True)
    assert result["logProbabilitySum"] == pytest.approx(sum(chosen))
    assert candidate["avgLogprobs"] == pytest.approx(sum(chosen) / len(chosen))
    assert result["chosenCandidates"][0]["tokenId"] == ord("h")


@pytest.mark.parametrize("config", [{}, {"logprobs": 0}])
def test_without_a_count_only_the_chosen_tokens_are_reported(
    client: TestClient, config: dict[str, Any]
) -> None:
    body = client.post(GENERATE, json=ask(responseLogprobs=True, **config)).json()
    result = body["candidates"][0]["logprobsResult"]
    assert set(result) == {"chosenCandidates", "logProbabilitySum"}


def test_incomplete_characters_are_spelled_with_the_replacement_sign(serve: Serve) -> None:
    body = serve(ScriptedEngine("é")).post(GENERATE, json=ask(responseLogprobs=True)).json()
    chosen = body["candidates"][0]["logprobsResult"]["chosenCandidates"]
    assert [(entry["token"], entry["tokenId"]) for entry in chosen] == [
        ("\ufffd", 0xC3),
        ("\ufffd", 0xA9),
    ]
    assert text_of(body) == "é"


@pytest.mark.parametrize("extra", [{}, {"systemInstruction": {"parts": [{"text": "be brief"}]}}])
def test_g55_counted_tokens_are_the_prompt_tokens(
    client: TestClient, extra: dict[str, Any]
) -> None:
    body = {"contents": [user("hi"), user("there")], **extra}
    usage = client.post(GENERATE, json=body).json()["usageMetadata"]
    for form in (
        body,
        {"generateContentRequest": {"model": "models/diglot-mini", **body}},
        {"contents": [user("this is ignored")], "generate_content_request": body},
    ):
        answer = client.post(COUNT, json=form).json()
        assert answer == {
            "totalTokens": usage["promptTokenCount"],
            "promptTokensDetails": usage["promptTokensDetails"],
        }


def test_the_body_is_read_whatever_its_content_type_says(client: TestClient) -> None:
    body = b'{"contents":[{"parts":[{"text":"hi"}]}]}'
    for content_type in ("text/plain", "application/json; charset=UTF-8"):
        answer = client.post(GENERATE, content=body, headers={"content-type": content_type})
        assert answer.status_code == 200


@pytest.mark.parametrize("where", ["header", "query", "bearer", "empty"])
def test_g63_every_carrier_of_a_key_is_accepted(serve: Serve, where: str) -> None:
    client = serve() if where == "empty" else serve(api_key=["secret"])
    headers = {
        "header": {"x-goog-api-key": "secret"},
        "bearer": {"authorization": "Bearer secret", "x-goog-api-key": "other"},
        "empty": {"x-goog-api-key": ""},
    }.get(where, {})
    path = f"{GENERATE}?key=secret" if where == "query" else GENERATE
    assert client.post(path, json=ask(), headers=headers).status_code == 200
