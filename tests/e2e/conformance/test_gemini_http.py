"""Statements of the Gemini contract on models, errors and keys, against real processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from google import genai
from google.genai import errors

from tests.e2e.conformance.conftest import KEY
from tests.e2e.conformance.wire import MODEL, Api, ask
from tests.e2e.conftest import Server, start_server, stop_server

GENERATE, STREAM = ":generateContent", ":streamGenerateContent"
BASE = "/v1beta/models/second"


def test_g57_model_lists(strict: Api) -> None:
    first = strict.http.get("/v1beta/models?pageSize=2").json()
    assert [m["name"] for m in first["models"]] == ["models/org/name", "models/second"]
    query = {"page_size": 2, "pageToken": first["nextPageToken"]}
    rest = strict.http.get("/v1beta/models", params=query).json()
    assert [m["name"] for m in rest["models"]] == [
        "models/qwen3:8b"
    ] and "nextPageToken" not in rest
    for name in ("org/name", "qwen3:8b"):
        assert strict.http.get(f"/v1beta/models/{name}").json()["name"] == f"models/{name}"
    model = strict.http.get("/v1beta/models/org/name").json()
    assert {"generateContent", "countTokens"} <= set(model["supportedGenerationMethods"])
    assert {"version", "displayName", "inputTokenLimit", "outputTokenLimit"} <= set(model)


def test_g57_sizes_of_pages() -> None:
    aliases = ",".join(f"m{n}={MODEL}" for n in range(1001))
    server = start_server(f"--alias={aliases}")
    try:
        with Api(server.url) as api:
            for size, count in ((None, 50), (20, 20), (5000, 1000)):
                query = {} if size is None else {"pageSize": size}
                page = api.http.get("/v1beta/models", params=query).json()
                assert len(page["models"]) == count and page["nextPageToken"]
                assert all(model["name"].startswith("models/") for model in page["models"])
    finally:
        stop_server(server)


def test_g58_one_list_for_both(live_server: str) -> None:
    with openai.OpenAI(base_url=f"{live_server}/v1", api_key="x") as sdk:
        assert [model.id for model in sdk.models.list()] == [MODEL]
    for version in ("v1", "v1beta"):
        options = {"base_url": live_server, "api_version": version}
        with genai.Client(api_key="x", http_options=options) as client:  # type: ignore[arg-type]
            assert [model.name for model in client.models.list()] == [f"models/{MODEL}"]
            found = client.models.get(model=MODEL)
            assert found.input_token_limit == 2048


def test_g59_g60_g61_errors_before_the_stream(api: Api) -> None:
    for path in (f"/v1beta/models/gemni-3{GENERATE}", f"/v1beta/models/gemni-3{STREAM}?alt=sse"):
        answer = api.post(path, ask())
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("application/json")
        error = answer.json()["error"]
        assert (error["code"], error["status"]) == (404, "NOT_FOUND") and error["message"]
    answer = api.post(f"/v1beta/models/gemni-3{STREAM}", ask())
    assert answer.status_code == 404 and answer.json()[0]["error"]["code"] == 404


def test_g63_g64_keys(api: Api, strict: Api) -> None:
    def post(url: str, query: str = "", **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        body = ask(maxOutputTokens=1)
        return httpx.post(f"{url}{BASE}{GENERATE}{query}", json=body, headers=names)

    assert post(strict.url, x_goog_api_key=KEY).status_code == 200
    assert post(strict.url, f"?key={KEY}").status_code == 200
    assert post(strict.url, Authorization=f"Bearer {KEY}").status_code == 200
    both = post(strict.url, x_goog_api_key="wrong", Authorization=f"Bearer {KEY}")
    assert both.status_code == 200, "one valid carrier suffices"
    wrong = post(strict.url, x_goog_api_key="wrong")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert post(strict.url).json()["error"]["status"] == "PERMISSION_DENIED"
    assert post(strict.url).status_code == 403
    bearer = post(strict.url, Authorization="Bearer wrong")
    assert bearer.status_code == 401 and bearer.json()["error"]["status"] == "UNAUTHENTICATED"
    open_server = httpx.get(f"{api.url}/v1beta/models", headers={"x-goog-api-key": ""})
    assert open_server.status_code == 200


def test_g65_overload(strict: Api) -> None:
    body = ask("Once", ignoreEos=True, maxOutputTokens=400)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: strict.post(BASE + GENERATE, body), range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert answer.status_code in (429, 503)
        details = answer.json()["error"]["details"]
        [delay] = [each["retryDelay"] for each in details if "retryDelay" in each]
        assert delay.endswith("s") and int(delay[:-1]) >= 1


@pytest.mark.parametrize("stream", [False, True])
def test_g66_deadlines(api: Api, server: Server, stream: bool) -> None:
    body = ask("Once", ignoreEos=True, maxOutputTokens=2000)
    headers = {"X-Server-Timeout": "1"}
    path = f"/v1beta/models/{MODEL}{STREAM + '?alt=sse' if stream else GENERATE}"
    answer = api.post(
        path,
        {**body, "generationConfig": {**body["generationConfig"], "candidateCount": 8}},
        **headers,
    )
    if stream:  # the headers were out before the time was
        assert b'"status":"DEADLINE_EXCEEDED"' in answer.content
    else:
        assert answer.status_code == 504
        assert answer.json()["error"]["status"] == "DEADLINE_EXCEEDED"
    server.wait_for("diglot_sequences_running", 0, seconds=1)


def test_g62_an_error_in_mid_stream_raises(live_server: str) -> None:
    """The deadline is one; the SDK must raise and not end quietly."""
    options = {"base_url": live_server, "headers": {"X-Server-Timeout": "1"}}
    config = {
        "candidate_count": 8,
        "max_output_tokens": 2000,
        "http_options": {"extra_body": {"generationConfig": {"ignoreEos": True}}},
    }
    with genai.Client(api_key="x", http_options=options) as client:  # type: ignore[arg-type]
        with pytest.raises(errors.APIError) as caught:
            for _ in client.models.generate_content_stream(
                model=MODEL,
                contents="Once",
                config=config,  # type: ignore[arg-type]
            ):
                pass
    assert caught.value.code == 504


def test_g67_too_long_a_prompt(api: Api) -> None:
    error = api.problem(ask("dog " * 5000))
    assert "exceeds the maximum number of tokens allowed" in error["message"]
    assert error["message"].startswith("The input token count (")
