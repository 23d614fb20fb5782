"""What is refused, with which status, under which field's name."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from engine.errors import InvalidParameter
from tests.fakes import ScriptedEngine
from tests.server.gemini.conftest import Serve
from tests.server.gemini.helpers import COUNT, GENERATE, MODEL, SSE, STREAM, ask, user

PART = "contents[0].parts[0]"
CONFIG = "generation_config"


def part(**fields: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [fields]}]}


BAD_REQUESTS: list[tuple[str, dict[str, Any], str]] = [
    # contents
    ("g30", {}, "contents"),
    ("g30", {"contents": []}, "contents"),
    ("g30", {"contents": [{"role": "user"}]}, "contents[0].parts"),
    ("g30", {"contents": [user("a"), {"parts": []}]}, "contents[1].parts"),
    ("g30", part(), PART),
    ("g30", part(thoughtSignature="c2ln"), PART),
    ("g30", part(text="a", functionCall={"name": "f"}), PART),
    ("g30", part(text="a", thought=True), "contents"),
    ("g28", {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, "contents[0].role"),
    ("g28", {"contents": [{"role": "system", "parts": [{"text": "a"}]}]}, "contents[0].role"),
    ("type", {"contents": "hi"}, "contents"),
    ("type", {"contents": [7]}, "contents[0]"),
    ("type", part(text=7), f"{PART}.text"),
    ("parts", part(functionCall="f"), f"{PART}.function_call"),
    ("parts", part(function_response={"name": 1}), f"{PART}.function_response.name"),
    ("parts", part(functionResponse={"response": {}}), f"{PART}.function_response.name"),
    ("parts", part(functionCall={"args": {}}), f"{PART}.function_call.name"),
    ("type", part(functionCall={"name": "f", "args": "x"}), f"{PART}.function_call.args"),
    (
        "type",
        part(functionResponse={"name": "f", "response": 5}),
        f"{PART}.function_response.response",
    ),
    ("type", ask() | {"safetySettings": 5}, "safety_settings"),
    ("parts", part(fileData={"fileUri": "x"}), f"{PART}.file_data"),
    ("parts", part(inlineData={"mimeType": "image/png", "data": ""}), f"{PART}.inline_data"),
    ("parts", part(inlineData={"data": "aGk="}), f"{PART}.inline_data"),
    (
        "parts",
        part(inlineData={"mimeType": "text/plain", "data": "/w=="}),
        f"{PART}.inline_data.data",
    ),
    (
        "parts",
        part(inlineData={"mimeType": "text/plain", "data": "%"}),
        f"{PART}.inline_data.data",
    ),
    (
        "system",
        ask() | {"systemInstruction": {"parts": [{"inlineData": {}}]}},
        "system_instruction.parts[0]",
    ),
    ("system", ask() | {"systemInstruction": 7}, "system_instruction"),
    # generationConfig
    ("g32", ask(candidateCount=0), f"{CONFIG}.candidate_count"),
    ("g32", ask(candidateCount=9), f"{CONFIG}.candidate_count"),
    ("g33", ask(maxOutputTokens=0), f"{CONFIG}.max_output_tokens"),
    ("g33", ask(maxOutputTokens=1.5), f"{CONFIG}.max_output_tokens"),
    ("g34", ask(logprobs=1), f"{CONFIG}.logprobs"),
    ("g34", ask(logprobs=1, responseLogprobs=False), f"{CONFIG}.logprobs"),
    ("g34", ask(logprobs=21, responseLogprobs=True), f"{CONFIG}.logprobs"),
    ("g34", ask(logprobs=-1, responseLogprobs=True), f"{CONFIG}.logprobs"),
    ("g36", ask(temperature=2.1), f"{CONFIG}.temperature"),
    ("g36", ask(temperature=-0.1), f"{CONFIG}.temperature"),
    ("g36", ask(temperature="NaN"), f"{CONFIG}.temperature"),
    ("g36", ask(temperature="Infinity"), f"{CONFIG}.temperature"),
    ("g36", ask(temperature=True), f"{CONFIG}.temperature"),
    ("g37", ask(stopSequences=list("abcdef")), f"{CONFIG}.stop_sequences"),
    ("g37", ask(stopSequences=[""]), f"{CONFIG}.stop_sequences"),
    ("g37", ask(stopSequences=[7]), f"{CONFIG}.stop_sequences[0]"),
    ("range", ask(topP=1.1), f"{CONFIG}.top_p"),
    ("range", ask(topK=-1), f"{CONFIG}.top_k"),
    ("range", ask(topK="many"), f"{CONFIG}.top_k"),
    ("range", ask(seed=2**63), f"{CONFIG}.seed"),
    ("range", ask(presencePenalty=2.1), f"{CONFIG}.presence_penalty"),
    ("range", ask(frequencyPenalty=-2.1), f"{CONFIG}.frequency_penalty"),
    ("range", ask(minP=1.1), f"{CONFIG}.min_p"),
    ("range", ask(repetitionPenalty=0), f"{CONFIG}.repetition_penalty"),
    ("range", ask(minTokens=-1), f"{CONFIG}.min_tokens"),
    ("range", ask(logitBias={"65": 101}), f"{CONFIG}.logit_bias"),
    ("range", ask(logitBias={"9999": 1}), f"{CONFIG}.logit_bias"),
    ("range", ask(logitBias={"a": 1}), f"{CONFIG}.logit_bias"),
    ("kind", ask(responseModalities=["TEXT", "IMAGE"]), f"{CONFIG}.response_modalities"),
    ("kind", ask(responseModalities=[3]), f"{CONFIG}.response_modalities"),
    ("kind", ask(responseModalities=["SMELL"]), f"{CONFIG}.response_modalities[0]"),
    ("kind", ask(responseMimeType="text/x.enum"), f"{CONFIG}.response_mime_type"),
    ("kind", ask(responseSchema={}), f"{CONFIG}.response_schema"),
    ("kind", ask(responseJsonSchema={"type": "object"}), f"{CONFIG}.response_json_schema"),
    ("kind", ask(_responseJsonSchema={}), f"{CONFIG}.response_json_schema"),
    ("kind", ask(response_json_schema_ordered={}), f"{CONFIG}.response_json_schema"),
    ("kind", ask() | {"generationConfig": []}, CONFIG),
    # tools
    (
        "tools",
        ask() | {"tools": [{}, {"functionDeclarations": [{"name": "f"}]}]},
        "tools",  # the scripted model's template has no calls
    ),
    (
        "tools",
        ask() | {"tools": [{"functionDeclarations": [{"name": "1f"}]}]},
        "tools[0].function_declarations[0].name",
    ),
    (
        "g47",
        ask()
        | {
            "tools": [
                {
                    "functionDeclarations": [
                        {"name": "f", "parameters": {}, "parametersJsonSchema": {}}
                    ]
                }
            ]
        },
        "tools[0].function_declarations[0].parameters_json_schema",
    ),
    (
        "tools",
        ask() | {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]},
        "tools[0].function_declarations[1].name",
    ),
    ("tools", ask() | {"tools": {"googleSearch": {}}}, "tools[0].google_search"),
    ("tools", ask() | {"tools": [{"url_context": {}}]}, "tools[0].url_context"),
    (
        "tools",
        ask() | {"toolConfig": {"functionCallingConfig": {"mode": "any"}}},
        "tool_config.function_calling_config.mode",
    ),
    (
        "tools",
        ask() | {"tool_config": {"function_calling_config": {"mode": 2}}},
        "tool_config.function_calling_config.mode",
    ),
]


@pytest.mark.parametrize(("why", "body", "field"), BAD_REQUESTS)
def test_bad_requests_are_400_and_name_the_field(
    client: TestClient, why: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(GENERATE, json=body)
    error = answer.json()["error"]
    assert answer.status_code == error["code"] == 400
    assert error["status"] == "INVALID_ARGUMENT"
    (detail,) = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert [violation["field"] for violation in detail["fieldViolations"]] == [field]
    assert "max_new_tokens" not in error["message"]


def test_messages_speak_of_gemini_fields(client: TestClient) -> None:
    message = client.post(GENERATE, json=ask(temperature=3)).json()["error"]["message"]
    assert message.startswith("Invalid 'generation_config.temperature': ")


def test_what_a_template_refuses_is_said_of_contents(serve: Serve) -> None:
    refusal = InvalidParameter("messages", None, "the template refuses this conversation.")
    answer = serve(ScriptedEngine(refuse_with=refusal)).post(GENERATE, json=ask())
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["message"].startswith("Invalid 'contents': the template refuses")
    assert error["details"][0]["fieldViolations"][0]["field"] == "contents"


def test_g30_the_known_messages(client: TestClient) -> None:

    def message(body: object) -> str:
        return client.post(GENERATE, json=body).json()["error"]["message"]

    assert message({}) == "* GenerateContentRequest.contents: contents is not specified"
    assert message({"contents": [{"role": "bot", "parts": [{"text": ""}]}]}) == (
        "Please use a valid role: user, model."
    )
    assert message({"contents": [{}]}) == (
        "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty."
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 10_000])
def test_bodies_that_are_no_json_object_are_400(client: TestClient, content: bytes) -> None:
    for path in (GENERATE, COUNT):
        answer = client.post(path, content=content)
        assert answer.status_code == 400
        assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("body", [{}, {"generateContentRequest": {}}, {"contents": []}])
def test_count_tokens_of_nothing_is_400(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post(COUNT, json=body).status_code == 400


def test_cached_contents_are_never_found(client: TestClient) -> None:
    answer = client.post(GENERATE, json=ask() | {"cachedContent": "cachedContents/x"})
    assert answer.status_code == answer.json()["error"]["code"] == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize("name", ["gpt-4", "", "diglot", "latest", "models/diglot-minii"])
def test_g59_unknown_models_are_404(client: TestClient, name: str) -> None:
    paths = [f"/v1beta/models/{name}:{verb}" for verb in ("generateContent", "countTokens")]
    for path in paths:
        answer = client.post(path, json=ask())
        error = answer.json()["error"]
        assert answer.status_code == error["code"] == 404
        assert error["status"] == "NOT_FOUND"
        assert "is not found for API version" in error["message"]


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        (f"{MODEL}:predict", 501, "UNIMPLEMENTED"),
        (f"{MODEL}:generateAnswer", 501, "UNIMPLEMENTED"),
        (f"{MODEL}:bidiGenerateContent", 501, "UNIMPLEMENTED"),
        (f"{MODEL}:embedContent", 400, "INVALID_ARGUMENT"),
        (f"{MODEL}:batchEmbedContents", 400, "INVALID_ARGUMENT"),
        (f"{MODEL}:dance", 404, "NOT_FOUND"),
        ("/v1beta/cachedContents", 404, "NOT_FOUND"),
        ("/v1beta/interactions", 404, "NOT_FOUND"),
        ("/upload/v1beta/files", 404, "NOT_FOUND"),
    ],
)
def test_verbs_and_paths_that_are_not_offered(
    client: TestClient, path: str, status: int, name: str
) -> None:
    answer = client.post(path, json=ask())
    assert answer.status_code == answer.json()["error"]["code"] == status
    assert answer.json()["error"]["status"] == name


@pytest.mark.parametrize("path", [GENERATE, SSE, f"{MODEL}:predict"])
def test_verbs_are_not_for_get(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_g60_g61_refusals_of_streams(client: TestClient) -> None:
    for body, path in (
        (ask(temperature=3), MODEL),
        (ask(), "/v1beta/models/gpt-4"),
        ({}, MODEL),
    ):
        as_events = client.post(f"{path}:streamGenerateContent?alt=sse", json=body)
        as_array = client.post(f"{path}:streamGenerateContent", json=body)
        assert as_events.headers["content-type"] == "application/json; charset=UTF-8"
        assert as_array.status_code == as_events.status_code >= 400
        assert as_array.json() == [as_events.json()]


def test_g64_keys_that_are_missing_or_wrong(serve: Serve) -> None:
    client = serve(api_key=["secret"])

    def refused(headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        answer = client.post(GENERATE, json=ask(), headers=headers)
        return answer.status_code, answer.json()["error"]

    status, error = refused({})
    assert (status, error["status"]) == (403, "PERMISSION_DENIED")
    status, error = refused({"x-goog-api-key": "wrong"})
    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["reason"] == "API_KEY_INVALID"
    status, error = refused({"authorization": "Bearer wrong"})
    assert (status, error["status"]) == (401, "UNAUTHENTICATED")
    assert client.post(STREAM, json=ask()).json()[0]["error"]["code"] == 403


def test_g67_a_prompt_longer_than_the_context(serve: Serve) -> None:
    client = serve(ScriptedEngine(max_model_len=30))
    for path in (GENERATE, SSE):
        answer = client.post(path, json=ask("x" * 50))
        count = client.post(COUNT, json=ask("x" * 50)).json()["totalTokens"]
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == (
            f"The input token count ({count}) exceeds the maximum number of tokens allowed (30)."
        )


def test_a_prompt_that_fills_the_context_leaves_no_room(serve: Serve) -> None:
    count = serve().post(COUNT, json=ask()).json()["totalTokens"]
    for limit, status in ((count, 400), (count + 1, 200)):
        client = serve(ScriptedEngine(max_model_len=limit))
        assert client.post(GENERATE, json=ask()).status_code == status


def test_an_engine_that_loads_is_unavailable(serve: Serve) -> None:
    client = serve(ScriptedEngine(phase="loading weights"))
    for path in (GENERATE, SSE, COUNT):
        answer = client.post(path, json=ask())
        assert answer.status_code == 503
        assert answer.json()["error"]["status"] == "UNAVAILABLE"
    assert client.post("/v1beta/models/gpt-4:generateContent", json=ask()).status_code == 404
