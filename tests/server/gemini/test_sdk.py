"""Google's own client against a real server over a scripted engine."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from google import genai
from google.genai import errors, types

from engine.errors import EngineFault
from server.app import create_app
from tests.fakes import ScriptedEngine
from tests.server.gemini.helpers import GENERATE, SSE, ask, settings

MODEL = "diglot-mini"


@contextmanager
def running(engine: ScriptedEngine) -> Iterator[str]:
    """The base URL of a server on a free port."""
    config = uvicorn.Config(create_app(engine, settings()), log_level="error")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(ScriptedEngine("line\none \u2028 é 🎈")) as base:
        yield base


@pytest.fixture(params=["v1beta", None], ids=["v1beta", "default version"])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    with connect(url, request.param) as client:
        yield client


def connect(url: str, version: str | None = "v1beta") -> genai.Client:
    options = types.HttpOptions(base_url=url, api_version=version)
    return genai.Client(api_key="any", http_options=options)


def test_g1_generate(client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        system_instruction="be brief",
        temperature=0,
        top_k=40,
        max_output_tokens=100,
        stop_sequences=["never"],
        response_logprobs=True,
        logprobs=2,
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                threshold=types.HarmBlockThreshold.BLOCK_NONE,
            )
        ],
    )
    answer = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert answer.text == "line\none \u2028 é 🎈"
    assert answer.candidates and answer.usage_metadata
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert answer.candidates[0].logprobs_result is not None
    assert answer.usage_metadata.prompt_token_count
    assert answer.model_version == MODEL


def test_g8_g14_stream_and_chat(client: genai.Client) -> None:
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="hi"))
    assert "".join(chunk.text or "" for chunk in chunks) == "line\none \u2028 é 🎈"
    chat = client.chats.create(model=MODEL)
    for _ in range(2):
        said = "".join(chunk.text or "" for chunk in chat.send_message_stream("hi"))
        assert said == "line\none \u2028 é 🎈"
    roles = [content.role for content in chat.get_history(curated=True)]
    assert roles[0] == "user" and set(roles[1:]) == {"model", "user"}


def test_g8_async_stream(url: str) -> None:
    async def read() -> str:
        text = ""
        client = connect(url).aio
        async for chunk in await client.models.generate_content_stream(model=MODEL, contents="hi"):
            text += chunk.text or ""
        await client.aclose()
        return text

    assert asyncio.run(read()) == "line\none \u2028 é 🎈"


def test_g55_count_tokens(client: genai.Client) -> None:
    count = client.models.count_tokens(model=MODEL, contents="hi").total_tokens
    answer = client.models.generate_content(model=MODEL, contents="hi")
    assert answer.usage_metadata and answer.usage_metadata.prompt_token_count == count


def test_g57_models(url: str) -> None:
    client = connect(url)
    assert [model.name for model in client.models.list()] == [f"models/{MODEL}"]
    assert client.models.get(model=MODEL).input_token_limit == 512


def test_extensions_pass_through_the_sdk(client: genai.Client) -> None:
    options = types.HttpOptions(extra_body={"generationConfig": {"logitBias": {"65": 100}}})
    config = types.GenerateContentConfig(max_output_tokens=3, http_options=options)
    answer = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert answer.text == "AAA"


@pytest.mark.parametrize(
    ("model", "temperature", "code", "status"),
    [(MODEL, 3.0, 400, "INVALID_ARGUMENT"), ("unknown", 1.0, 404, "NOT_FOUND")],
)
def test_g59_g60_refusals_raise_client_errors(
    client: genai.Client, model: str, temperature: float, code: int, status: str
) -> None:
    config = types.GenerateContentConfig(temperature=temperature)
    with pytest.raises(errors.ClientError) as plain:
        client.models.generate_content(model=model, contents="hi", config=config)
    with pytest.raises(errors.ClientError) as streamed:
        list(client.models.generate_content_stream(model=model, contents="hi", config=config))
    for caught in (plain, streamed):
        assert (caught.value.code, caught.value.status) == (code, status)


def test_g62_an_error_in_a_stream_raises() -> None:
    engine = ScriptedEngine(fail_with=EngineFault("It {broke}."), fail_after=5)
    with running(engine) as url:
        text = ""
        client = connect(url)
        with pytest.raises(errors.ServerError, match="It {broke}") as caught:
            for chunk in client.models.generate_content_stream(model=MODEL, contents="hi"):
                text += chunk.text or ""
        assert text == "hello"
        assert caught.value.code == 500


@pytest.mark.parametrize("path", [GENERATE, SSE])
def test_g69_a_dropped_connection_aborts(path: str) -> None:
    engine = ScriptedEngine("x" * 400, delay=0.02)
    with running(engine) as url:
        if path == GENERATE:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url + path, json=ask(), timeout=0.2)
        else:
            with httpx.stream("POST", url + path, json=ask()) as answer:
                next(answer.iter_raw())
        deadline = time.monotonic() + 5
        while not engine.aborted:
            assert time.monotonic() < deadline, "nothing was aborted"
            time.sleep(0.02)
