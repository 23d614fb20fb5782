"""Statements of the Gemini contract on what is accepted, against a real process."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.e2e.conformance.wire import MODEL, Api, ask, text_of

STORY = "Tell me a short story about a dog."
CONFIG = "generation_config"


def field_of(error: dict[str, Any]) -> str:
    return error["details"][0]["fieldViolations"][0]["field"]


def greedy(api: Api, body: dict[str, Any]) -> str:
    config = {"temperature": 0, "maxOutputTokens": 30, **body.get("generationConfig", {})}
    return text_of(api.generate({**body, "generationConfig": config}))


def test_g1_g20_only_contents(api: Api) -> None:
    answer = api.post(f"/v1beta/models/{MODEL}:generateContent", ask())
    assert answer.status_code == 200
    assert answer.json()["candidates"][0]["content"]["role"] == "model"


def test_g2_g3_g4_paths(api: Api) -> None:
    body = ask(temperature=0)
    texts = {
        text_of(api.post(f"{base}/{MODEL}:generateContent", body).json())
        for base in (
            "/v1beta/models",
            "/v1/models",
            "/v1alpha/models",
            "/models",
            "/v1beta",
            "/v1/projects/p/locations/l/publishers/google/models",
        )
    }
    assert len(texts) == 1


def test_g3_g4_ids_with_slashes_and_colons(strict: Api) -> None:
    for path in ("/v1beta/models/org/name", "/v1beta/org/name", "/v1beta/models/org%2Fname"):
        answer = strict.post(f"{path}:generateContent", ask(maxOutputTokens=1))
        assert answer.status_code == 200, path
        assert answer.json()["modelVersion"] == "org/name"
    answer = strict.post("/v1beta/models/qwen3:8b:generateContent", ask(maxOutputTokens=1))
    assert answer.status_code == 200
    answer = strict.post("/v1beta/models/qwen3:9b:generateContent", ask())
    assert "models/qwen3:9b is not found" in answer.json()["error"]["message"]


def test_g21_g22_g23_g25_g26_spellings(api: Api) -> None:
    config = {"maxOutputTokens": 20, "topK": 5, "topP": 0.9, "seed": 7, "stopSequences": ["zz"]}
    camel = ask(STORY, **config) | {"safetySettings": [], "systemInstruction": None}
    snake: dict[str, Any] = {
        "contents": [{"role": "user", "parts": [{"text": STORY}]}],
        "generation_config": {
            "max_output_tokens": "20",
            "top_k": 5.0,
            "top_p": "0.9",
            "seed": "7",
            "stop_sequences": ["zz"],
            "presence_penalty": None,
        },
        "safety_settings": [{"category": 7, "threshold": 4}],
        "system_instruction": None,
    }
    mixed = ask(STORY, **{"max_output_tokens": 20, "topK": "5", "top_p": 0.9, "seed": 7.0})
    texts = {text_of(api.generate(body)) for body in (camel, snake, mixed)}
    assert len(texts) == 1
    assert api.generate(ask() | {"generationConfig": {}, "safetySettings": []})


def test_g23_types_as_numbers(api: Api) -> None:
    schema = {"type": 6, "properties": {"a": {"type": 3}}, "required": ["a"]}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    assert text_of(api.generate(ask(**config, maxOutputTokens=60))).startswith("{")
    for mode in (2, "any", "Any", "ANY"):
        body = ask(maxOutputTokens=60) | {
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": mode}},
        }
        assert "functionCall" in api.generate(body)["candidates"][0]["content"]["parts"][0]


def test_g24_bytes_in_all_alphabets(api: Api) -> None:
    data = "Ünïcode?>~ dog".encode()
    encoded = base64.b64encode(data).decode()
    url_safe = base64.urlsafe_b64encode(data).decode()
    texts = set()
    assert "+" in encoded or "/" in encoded, "the alphabets differ"
    for spelled in (encoded, url_safe, encoded.rstrip("="), url_safe.rstrip("=")):
        part = {"inlineData": {"mimeType": "text/plain", "data": spelled}}
        texts.add(greedy(api, {"contents": [{"parts": [part]}]}))
    assert texts == {greedy(api, ask(data.decode()))}


def test_g27_unknown_fields(api: Api, strict: Api) -> None:
    body = ask(temperature=0, surprise=1)
    assert greedy(api, body) == greedy(api, ask(temperature=0))
    answer = strict.post("/v1beta/models/second:generateContent", body)
    assert answer.status_code == 400
    assert 'Unknown name "surprise"' in answer.json()["error"]["message"]


@pytest.mark.parametrize("role", ["", "user", "system", None])
def test_g31_system_instructions(api: Api, role: str | None) -> None:
    instruction: dict[str, Any] = {"parts": [{"text": "You are Ruby, a brave pirate."}]}
    if role is not None:
        instruction["role"] = role
    assert "Ruby" in greedy(api, ask("Who are you?") | {"systemInstruction": instruction})


def test_g28_g29_g52_turns(api: Api) -> None:
    turns: list[dict[str, Any]] = [
        {"parts": [{"text": "Hello!"}]},
        {"role": "user", "parts": [{"text": "Hi!"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Hm."},
                {
                    "functionCall": {"name": "f", "args": {}},
                    "thoughtSignature": "skip_thought_signature_validator",
                },
            ],
        },
        {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
    ]
    assert api.generate({"contents": turns, "generationConfig": {"maxOutputTokens": 2}})
    bad = {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}
    assert field_of(api.problem(bad)) == "contents[0].role"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "user", "parts": []}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        (ask(candidateCount=0), f"{CONFIG}.candidate_count"),
        (ask(maxOutputTokens=0), f"{CONFIG}.max_output_tokens"),
        (ask(logprobs=1), f"{CONFIG}.logprobs"),
        (ask(responseLogprobs=True, logprobs=21), f"{CONFIG}.logprobs"),
        (ask(temperature=2.1), f"{CONFIG}.temperature"),
        (ask(stopSequences=list("abcdef")), f"{CONFIG}.stop_sequences"),
        (ask(responseSchema={"type": "STRING"}), f"{CONFIG}.response_schema"),
    ],
)
def test_g30_g32_g33_g34_g36_g37_g45_bad_values(api: Api, body: dict[str, Any], field: str) -> None:
    assert field_of(api.problem(body)) == field


def test_g33_g34_g35_g36_values_at_the_edge(api: Api) -> None:
    one = api.generate(ask(STORY, maxOutputTokens=1))
    assert one["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert one["usageMetadata"]["candidatesTokenCount"] == 1
    api.generate(ask(responseLogprobs=True, logprobs=20, maxOutputTokens=1))
    api.generate(ask(presencePenalty=0, frequencyPenalty=0, temperature=2.0, maxOutputTokens=1))
    assert greedy(api, ask(STORY)) == greedy(api, ask(STORY))


def test_g37_stop_sequences(api: Api) -> None:
    whole = greedy(api, ask(STORY))
    stops = [whole[8:12], "one", "two!", "three!", "four!"]
    answer = api.generate(ask(STORY, temperature=0, maxOutputTokens=30, stopSequences=stops))
    first = min(whole.find(stop) for stop in stops if stop in whole)
    assert text_of(answer) == whole[:first]
    assert answer["candidates"][0]["finishReason"] == "STOP"


def test_g38_g39_candidates_and_seeds(api: Api) -> None:
    body = ask(STORY, candidateCount=2, seed=5, temperature=1.0, maxOutputTokens=20)
    answer, again = api.generate(body), api.generate(body)
    assert [candidate["index"] for candidate in answer["candidates"]] == [0, 1]
    texts = [text_of(answer, n) for n in (0, 1)]
    assert texts[0] != texts[1] and texts == [text_of(again, n) for n in (0, 1)]


def test_g40_g41_logprobs(api: Api) -> None:
    answer = api.generate(
        ask(STORY, temperature=0, maxOutputTokens=12, responseLogprobs=True, logprobs=4)
    )
    candidate = answer["candidates"][0]
    result = candidate["logprobsResult"]
    chosen = [entry["logProbability"] for entry in result["chosenCandidates"]]
    assert len(chosen) == len(result["topCandidates"]) == 12
    for top in result["topCandidates"]:
        values = [entry["logProbability"] for entry in top["candidates"]]
        assert len(values) == 4 and values == sorted(values, reverse=True)
    assert result["logProbabilitySum"] == pytest.approx(sum(chosen))
    assert candidate["avgLogprobs"] == pytest.approx(sum(chosen) / 12)


def test_g53_thinking_config_of_any_form(api: Api) -> None:
    for config in (
        {"thinkingBudget": 0},
        {"thinking_budget": -1, "includeThoughts": True},
        {"thinkingBudget": 8192, "thinkingLevel": "HIGH"},
        {"thinkingLevel": 2},
    ):
        assert api.generate(ask(thinkingConfig=config, maxOutputTokens=2))
