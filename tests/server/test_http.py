"""What HTTP itself owes every caller: ids, keys, sizes, types, paths, models, health, metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.settings import ServerSettings
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL, Client

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "a"}]}
GEMINI_PATH = f"/v1beta/models/{MODEL}:generateContent"


def keyed(**settings: Any) -> Client:
    return Client(settings=ServerSettings(api_key=["secret-key-1", "other"], **settings))


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b"\xff", b'{"a": NaN}', b"null", b"[" * 9999])
def test_f53_bodies_that_are_no_object(body: bytes) -> None:
    reply = Client().request("POST", "/v1/chat/completions", content=body)
    assert reply.status == 400
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert reply.error["code"] is None


def test_lone_surrogates_are_replaced() -> None:
    client = Client()
    body = json.dumps({"model": MODEL, "prompt": "a\ud83d"})
    assert client.request("POST", "/v1/completions", content=body).status == 200
    assert client.engine.decode(client.engine.requests[0].prompt_token_ids) == "<bos>a\ufffd"


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-encoding": "gzip"}],
)
def test_other_types_and_encodings_are_refused(headers: dict[str, str]) -> None:
    reply = Client().request("POST", "/v1/completions", content=b"{}", headers=headers)
    assert reply.status == 415


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=latin-1", None])
def test_json_types_are_accepted(kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    reply = Client().request(
        "POST", "/v1/chat/completions", content=json.dumps(CHAT), headers=headers
    )
    assert reply.status == 200


def test_f60_every_answer_has_a_request_id() -> None:
    client = Client()
    for reply in (
        client.chat(),
        client.chat(stream=True),
        client.get("/nowhere"),
        client.chat(n=0),
    ):
        assert reply.headers["x-request-id"].startswith("req_")
        assert len(reply.headers["x-request-id"]) == 36
    given = client.post("/v1/chat/completions", CHAT, headers={"X-Request-Id": "mine"})
    assert given.headers["x-request-id"] == "mine"


def test_how_long_an_answer_took_is_told_in_the_one_dialect_that_has_words_for_it() -> None:
    client = Client()
    for reply in (client.chat(), client.chat(n=0)):
        assert int(reply.headers["openai-processing-ms"]) >= 0
    assert "openai-processing-ms" not in client.get("/v1beta/models").headers


def test_embeddings_are_refused_where_clients_look_for_them() -> None:
    client = Client()
    known = client.post("/v1/embeddings", {"model": MODEL, "input": "a"})
    assert (known.status, known.error["param"]) == (400, "model")
    unknown = client.post("/v1/embeddings", {"model": "other", "input": "a"})
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


def test_f60_unprintable_ids_are_not_echoed() -> None:
    given = {"X-Request-Id": "a b"}
    assert Client().get("/health", headers=given).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret-key-1"},
        {"Authorization": "bearer other"},
        {"x-goog-api-key": "other"},
        {"Authorization": "Bearer wrong", "x-goog-api-key": "other"},
    ],
)
def test_f56_any_valid_carrier_opens(headers: dict[str, str]) -> None:
    client = keyed()
    assert client.post("/v1/chat/completions", CHAT, headers=headers).status == 200
    assert client.post("/v1/chat/completions?key=other", CHAT).status == 200


def test_f56_wrong_and_missing_keys() -> None:
    client = keyed()
    wrong = {"Authorization": "Bearer sk-1234567890123"}
    reply = client.post("/v1/chat/completions", CHAT, headers=wrong)
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    assert "sk-12***23" in reply.error["message"]
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Basic other"}):
        reply = client.post("/v1/chat/completions", CHAT, headers=headers)
        assert (reply.status, reply.error["code"]) == (401, None)
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert client.get(path).status == 401


def test_f56_keys_in_the_words_of_gemini() -> None:
    client = keyed()
    missing = client.post(GEMINI_PATH, {})
    assert (missing.status, missing.error["status"]) == (403, "PERMISSION_DENIED")
    wrong = client.post(GEMINI_PATH, {}, headers={"x-goog-api-key": "x"})
    assert (wrong.status, wrong.error["status"]) == (400, "INVALID_ARGUMENT")
    assert wrong.error["details"][0]["reason"] == "API_KEY_INVALID"
    bearer = client.post(GEMINI_PATH, {}, headers={"authorization": "Bearer x"})
    assert (bearer.status, bearer.error["status"]) == (401, "UNAUTHENTICATED")
    listed = client.get("/v1/models", headers={"x-goog-api-key": "x"})
    assert listed.error["status"] == "INVALID_ARGUMENT"


def test_f56_without_keys_everything_opens() -> None:
    assert (
        Client().post("/v1/chat/completions", CHAT, headers={"Authorization": "Bearer "}).status
        == 200
    )


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\nfirst\n second \n")
    assert ServerSettings(api_key_file=file, api_key=["x"]).api_keys() == ("x", "first", "second")


def test_f78_health_is_open_and_follows_the_engine() -> None:
    client = keyed()
    assert client.get("/health").json["status"] == "ok"
    client.engine.phase = "loading weights"
    reply = client.get("/health/")
    assert (reply.status, reply.json["phase"]) == (503, "loading weights")
    assert reply.headers["retry-after"] == "2"


def test_loading_is_503_for_every_route() -> None:
    client = Client(ScriptedEngine(phase="loading weights"))
    reply = client.chat(stream=True)
    assert (reply.status, reply.error["type"]) == (503, "server_error")
    assert "loading weights" in reply.error["message"]


def test_draining_is_503() -> None:
    client = Client()
    assert client.chat().status == 200
    assert client.state is not None
    client.state.admission.close("draining", lambda: None)
    for reply in (client.chat(), client.complete(), client.get("/health")):
        assert reply.status == 503
        assert 1 <= int(reply.headers["retry-after"]) <= 60


def test_bodies_have_a_limit() -> None:
    client = Client(settings=ServerSettings(max_body_bytes=100))
    assert client.complete("x" * 200).status == 413

    async def chunks() -> Any:
        for _ in range(10):
            yield b"x" * 50

    reply = client.request("POST", "/v1/completions", content=chunks())
    assert (reply.status, reply.error["type"]) == (413, "invalid_request_error")
    gemini = client.request("POST", GEMINI_PATH, content=b"x" * 200)
    assert gemini.error["status"] == "INVALID_ARGUMENT"


def test_paths_and_methods() -> None:
    client = Client()
    unknown = client.get("/v1/nowhere")
    assert (unknown.status, unknown.error["code"]) == (404, "unknown_url")
    wrong = client.get("/v1/chat/completions")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.error["type"] == "invalid_request_error"


GEMINI_CALL = f"/v1beta/models/{MODEL}:countTokens"
PATHS = (
    *("/health", "/metrics", "/v1/completions", "/v1/chat/completions", "/v1/embeddings"),
    *("/v1/tokenize", "/v1/detokenize", "/v1/tokenizer_info", "/v1/models", f"/v1/models/{MODEL}"),
    *("/v1/responses", "/v1/responses/x", "/v1/responses/x/input_items", "/v1/responses/x/cancel"),
    *("/responses/x", "/v1beta/openai/responses/x", "/v1/responses/compact", "/v1/responses/x/"),
    *("/v1beta/models", f"/v1beta/models/{MODEL}", "/v1beta/tunedModels", GEMINI_CALL),
    *(f"/v1/models/{MODEL}:generateContent", f"/v1beta/tunedModels/{MODEL}:generateContent"),
)


@pytest.mark.parametrize("path", PATHS)
def test_allow_names_every_method_that_a_path_has(path: str) -> None:
    client = Client()
    methods = ("GET", "POST", "DELETE", "PUT", "PATCH")
    replies = {method: client.request(method, path, json={}) for method in methods}
    refused = {method: reply for method, reply in replies.items() if reply.status == 405}
    assert {"PUT", "PATCH"} <= refused.keys()
    allowed = {reply.headers["allow"] for reply in refused.values()}
    assert allowed == {", ".join(method for method in methods if method not in refused)}


@pytest.mark.parametrize("prefix", ["/v1", "", "/v1beta/openai"])
@pytest.mark.parametrize("end", ["", "/"])
def test_prefixes_and_trailing_slashes(prefix: str, end: str) -> None:
    client = Client()
    assert client.post(f"{prefix}/chat/completions{end}", CHAT).status == 200
    assert client.post(f"{prefix}/completions{end}", {"model": MODEL}).status == 200


def test_f62_model_ids_with_slashes() -> None:
    client = Client(settings=ServerSettings(served_model_name=["org/name", "alias"]))
    encoded = client.get("/v1/models/org%2Fname")
    assert encoded.status == 200
    assert encoded.json == client.get("/v1/models/org/name").json
    assert (encoded.json["id"], encoded.json["object"]) == ("org/name", "model")
    assert encoded.json["max_model_len"] == 512
    assert encoded.json["name"] == "models/org/name"
    missing = client.get("/v1/models/none")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")
    assert client.complete(model="alias").json["model"] == "alias"


def test_models_are_listed_for_both_dialects() -> None:
    client = Client(settings=ServerSettings(served_model_name=["org/name", "alias"]))
    listed = client.get("/v1/models?limit=3").json
    assert [model["id"] for model in listed["data"]] == ["org/name", "alias"]
    assert [model["name"] for model in listed["models"]] == ["models/org/name", "models/alias"]
    assert listed["object"] == "list"
    assert client.get("/models").json == listed
    assert client.request("DELETE", "/v1/models/alias").status == 405


@pytest.mark.parametrize("stream", [False, True])
def test_f86_accept_is_not_asked(stream: bool) -> None:
    accept = {"accept": "application/json" if stream else "text/event-stream"}
    reply = Client().post("/v1/chat/completions", {**CHAT, "stream": stream}, headers=accept)
    assert reply.headers["content-type"].startswith(
        "text/event-stream" if stream else "application/json"
    )


def test_metrics_count_what_happened() -> None:
    client = Client()
    client.chat(n=2)
    client.complete(stream=True, max_tokens=2)
    client.chat(n=0)
    text = client.get("/metrics").content.decode()
    assert 'diglot_samples_total{dialect="openai",finish_reason="stop"} 2.0' in text
    assert 'diglot_samples_total{dialect="openai",finish_reason="length"} 1.0' in text
    assert 'diglot_time_to_first_token_seconds_count{dialect="openai"} 2.0' in text
    assert 'route="/v1/chat/completions",status="400"' in text
    assert "diglot_kv_blocks 64.0" in text
    assert "diglot_samples_open 0.0" in text


def test_the_document_describes_the_routes() -> None:
    paths = Client().get("/openapi.json").json["paths"]
    schema = paths["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert schema["schema"]["properties"]["temperature"]["maximum"] == 2
    assert "/chat/completions" not in paths
