"""Statements of the OpenAI contract on errors, headers and keys, against real processes."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conformance.conftest import KEY
from tests.e2e.conformance.wire import CHAT, COMPLETIONS, MODEL, Api, chat_body


def keyed(server: Api) -> openai.OpenAI:
    """The SDK with the server's key."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=8)


LONG: dict[str, Any] = {"prompt": "Once upon a time", "ignore_eos": True, "temperature": 1.0}


def test_f52_unknown_fields(api: Api, strict: Api) -> None:
    assert api.post(CHAT, chat_body(foo=1)).status_code == 200
    error = strict.error(CHAT, {**chat_body(foo=1), "model": "org/name"})
    assert (error["code"], error["param"]) == ("unknown_parameter", "foo")


def test_f53_f54_f61_bodies_that_say_nothing(api: Api) -> None:
    answer = api.http.post(CHAT, content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["code"] is None
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    error = api.error(CHAT, {})
    assert error["code"] == "missing_required_parameter"
    for path, status in (("/v1/unknown", 404), (CHAT, 405)):
        answer = api.http.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"


def test_f55_an_unknown_model(live_server: str) -> None:
    sent: list[httpx.Request] = []
    http: Any = httpx.Client(event_hooks={"request": [sent.append]})
    with openai.OpenAI(base_url=f"{live_server}/v1", api_key="x", http_client=http) as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            sdk.completions.create(model="other", prompt="a")
    assert caught.value.code == "model_not_found" and len(sent) == 1, "no retry"


def test_f56_keys(api: Api, strict: Api) -> None:
    def status(url: str, header: str | None) -> tuple[int, str | None]:
        headers = {} if header is None else {"Authorization": header}
        answer = httpx.get(f"{url}/v1/models", headers=headers)
        error = answer.json().get("error")
        return answer.status_code, error and error["code"]

    assert status(strict.url, "Bearer wrong-key-0123456789") == (401, "invalid_api_key")
    assert status(strict.url, None) == (401, None)
    assert status(strict.url, f"bearer {KEY}") == (200, None)
    empty = urllib.request.Request(f"{api.url}/v1/models", headers={"Authorization": "Bearer "})
    with urllib.request.urlopen(empty) as answer:  # httpx refuses to send this
        assert answer.status == 200
    with openai.OpenAI(base_url=f"{strict.url}/v1", api_key="wrong") as sdk:
        with pytest.raises(openai.AuthenticationError):
            sdk.models.list()


@pytest.mark.parametrize("stream", [False, True])
def test_f57_too_long_a_prompt(api: Api, stream: bool) -> None:
    error = api.error(CHAT, chat_body("dog " * 5000, stream=stream))
    assert error["code"] == "context_length_exceeded"


def test_f58_f88_overload_is_told_and_retried(strict: Api) -> None:
    body = {**LONG, "model": "second", "max_tokens": 400}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: strict.post(COMPLETIONS, body), range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused and len(refused) < 8
    for answer in refused:
        assert answer.status_code in (429, 503)
        seconds = int(answer.headers["retry-after"])
        assert 1 <= seconds <= 60
        assert answer.headers["retry-after-ms"] == str(seconds * 1000)
    with keyed(strict) as sdk, ThreadPoolExecutor(4) as pool:
        prompts = ["a", "b", "c", "d"]
        make = partial(sdk.completions.create, model="second", max_tokens=40)
        assert all(pool.map(lambda prompt: make(prompt=prompt).choices, prompts))


def test_f60_request_ids(api: Api) -> None:
    assert api.http.get("/health").headers["x-request-id"].startswith("req_")
    assert api.http.get("/v1/nothing").headers["x-request-id"].startswith("req_")
    for answer in (
        api.post(CHAT, {}, **{"X-Request-Id": "mine"}),
        api.post(CHAT, chat_body(stream=True, max_tokens=1), **{"X-Request-Id": "mine"}),
    ):
        assert answer.headers["x-request-id"] == "mine"


def test_f62_model_ids_with_a_slash(strict: Api) -> None:
    plain = strict.http.get("/v1/models/org/name").json()
    assert strict.http.get("/v1/models/org%2Fname").json() == plain
    with keyed(strict) as sdk:
        assert sdk.models.retrieve("org/name").id == plain["id"] == "org/name"
    answer = strict.http.get("/v1/models/org/other")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"


def test_f67_what_is_not_stored_is_gone(chat: openai.OpenAI) -> None:
    made = chat.responses.create(model=MODEL, input="Hello!", store=False, temperature=0)
    with pytest.raises(openai.NotFoundError):
        chat.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as caught:
        chat.responses.create(model=MODEL, input="And?", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


def test_f66_f70_f71_f72_responses(api: Api, chat: openai.OpenAI) -> None:
    persona = "You are Ruby, a brave pirate."
    first = chat.responses.create(
        model=MODEL, instructions=persona, input="Who are you?", temperature=0
    )
    plain = chat.responses.create(model=MODEL, input="Hello!", temperature=0)
    goes_on = chat.responses.create(
        model=MODEL, input="Who are you?", previous_response_id=plain.id, temperature=0
    )
    assert "Ruby" in first.output_text and "Ruby" not in goes_on.output_text
    _check_only_new_instructions(chat, first.id, persona)
    body = {
        "model": MODEL,
        "input": "Tell me a story about a girl named Lily.",
        "max_output_tokens": 4,
        "stream": True,
    }
    lines = api.raw("/v1/responses", body).decode().splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds[-1] == "response.incomplete" and "[DONE]" not in lines[-2]
    final = json.loads(lines[-2].removeprefix("data: "))["response"]
    assert final["status"] == "incomplete" and final["usage"]["output_tokens"] == 4
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    allowed = {"created", "in_progress", "incomplete"} | {
        f"{name}.{end}"
        for name, ends in (
            ("output_item", ("added", "done")),
            ("content_part", ("added", "done")),
            ("output_text", ("delta", "done")),
        )
        for end in ends
    }
    assert {kind.removeprefix("response.") for kind in kinds} <= allowed
    usage = goes_on.usage
    assert usage is not None and usage.input_tokens_details.cached_tokens >= 0
    assert usage.to_dict()["input_tokens_details"].keys() >= {"cached_tokens", "cache_write_tokens"}  # type: ignore[attr-defined]


def _check_only_new_instructions(sdk: openai.OpenAI, response_id: str, persona: str) -> None:
    """What goes on from a response has its turns before it, and not what it was told to be."""
    again: Any = {"model": MODEL, "input": "And you?", "previous_response_id": response_id}
    without = sdk.responses.input_tokens.count(**again).input_tokens
    with_them = sdk.responses.input_tokens.count(**again, instructions=persona).input_tokens
    said = sdk.responses.retrieve(response_id).output_text
    turns: Any = [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And you?"},
    ]
    assert sdk.responses.input_tokens.count(model=MODEL, input=turns).input_tokens == without
    assert with_them > without


def test_f74_leaving_frees_the_slot_within_a_second(strict: Api) -> None:
    """The server has room for two: a third fits at once when the two have left."""
    body = {**LONG, "model": "second", "max_tokens": 1500, "stream": True}
    for _ in range(2):
        for _ in range(2):
            with httpx.stream(
                "POST", f"{strict.url}{COMPLETIONS}", json=body, headers=dict(strict.http.headers)
            ) as answer:
                next(answer.iter_raw())
        left, status = time.monotonic(), 0
        while status != 200:
            assert time.monotonic() - left < 1
            status = strict.post(
                COMPLETIONS, {**body, "stream": False, "max_tokens": 1}
            ).status_code


def test_f77_keep_alives_are_comments_that_sdks_skip(strict: Api) -> None:
    body = {**LONG, "model": "second", "max_tokens": 300, "stream": True}
    data = strict.raw(COMPLETIONS, body)
    assert b": ping\n\n" in data
    chunks = strict.chunks(COMPLETIONS, {**body, "seed": 1})
    with keyed(strict) as sdk:
        stream = sdk.completions.create(
            model="second",
            prompt="Once upon a time",
            max_tokens=300,
            temperature=1.0,
            seed=1,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        text = "".join(chunk.choices[0].text for chunk in stream)
    assert text == "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


def test_f78_health_needs_no_key(strict: Api) -> None:
    assert httpx.get(f"{strict.url}/health").status_code == 200


def test_f59_an_error_in_mid_stream_raises() -> None:
    """`tests/e2e/test_lifecycle.py` kills an engine; here is what the SDK makes of the answer."""
    events = b'data: {"error":{"message":"gone","type":"server_error","param":null,"code":"x"}}\n\n'
    transport = httpx.MockTransport(
        lambda _: httpx.Response(
            200, headers={"content-type": "text/event-stream"}, content=events + b"data: [DONE]\n\n"
        )
    )
    http: Any = httpx.Client(transport=transport)
    with openai.OpenAI(base_url="http://test/v1", api_key="x", http_client=http) as sdk:
        with pytest.raises(openai.APIError, match="gone"):
            list(sdk.completions.create(model="m", prompt="a", stream=True))


def test_threads_share_one_server(api: Api) -> None:
    """A smoke test of all the above at once: nobody gets another's answer."""
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(api.text(max_tokens=8, temperature=0)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1 and len(answers) == 8
