"""What happens when clients leave, engines die and servers are asked to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from google import genai

from tests.e2e.conftest import Server, stop_server, wait_healthy

LONG = {"prompt": "Once upon a time", "ignore_eos": True, "max_tokens": 1500, "temperature": 1.0}
RUNNING, WAITING, BLOCKS = (
    "diglot_sequences_running",
    "diglot_sequences_waiting",
    "diglot_kv_blocks_used",
)


def model_of(url: str) -> str:
    return httpx.get(f"{url}/v1/models").json()["data"][0]["id"]


async def read_events(client: httpx.AsyncClient, url: str, body: dict, events: int | None) -> int:
    """Data events read; leaves early after `events` of them."""
    count = 0
    async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                assert "error" not in json.loads(line[6:])
                count += 1
                if count == events:
                    break
    return count


def test_64_streams_complete_and_leaving_frees_rows_and_blocks_at_once(server: Server) -> None:
    async def scenario() -> None:
        body = {**LONG, "model": model_of(server.url), "stream": True}
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            leavers = [read_events(client, server.url, body, 5) for _ in range(32)]
            short = {**body, "max_tokens": 64}
            stayers = [read_events(client, server.url, short, None) for _ in range(32)]
            counts = await asyncio.gather(*leavers, *stayers)
        assert counts[:32] == [5] * 32
        assert all(count > 1 for count in counts[32:])

    asyncio.run(scenario())
    server.wait_for(RUNNING, 0, seconds=1)
    assert server.metric(BLOCKS) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_f74_g69_a_client_that_leaves_frees_its_row_within_a_second(
    server: Server, stream: bool
) -> None:
    body = {**LONG, "model": model_of(server.url), "stream": stream}
    with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.5) as client:
        response = client.send(
            client.build_request("POST", f"{server.url}/v1/completions", json=body), stream=True
        )
        time.sleep(0.3)
        response.close()
        raise httpx.ReadTimeout("left")
    server.wait_for(RUNNING, 0, seconds=1)
    assert server.metric(BLOCKS) == 0


def read_with_openai(url: str, model: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as sdk:
        fields: Any = {**LONG, "extra_body": {"ignore_eos": LONG["ignore_eos"]}}
        del fields["ignore_eos"]
        for _ in sdk.completions.create(model=model, stream=True, **fields):
            pass


def read_with_google(url: str, model: str) -> None:
    extra = {"generationConfig": {"ignoreEos": True}}
    config: Any = {"max_output_tokens": 1500, "http_options": {"extra_body": extra}}
    with genai.Client(api_key="x", http_options={"base_url": url}) as client:
        for _ in client.models.generate_content_stream(model=model, contents="Hi", config=config):
            pass


def test_f59_g62_a_killed_engine_ends_open_requests_with_an_error_and_comes_back(
    own_server: Server,
) -> None:
    model = model_of(own_server.url)
    lines: list[str] = []

    def read() -> None:
        body = {**LONG, "model": model, "stream": True}
        with httpx.stream("POST", f"{own_server.url}/v1/completions", json=body, timeout=60) as r:
            lines.extend(line for line in r.iter_lines() if line)

    with ThreadPoolExecutor(3) as pool:
        plain = pool.submit(read)
        spoken = pool.submit(read_with_openai, own_server.url, model)
        generated = pool.submit(read_with_google, own_server.url, model)
        own_server.wait_for(RUNNING, 3)
        os.kill(own_server.engine_pid(), signal.SIGKILL)
        plain.result(timeout=10)
        with pytest.raises(openai.APIError, match="engine"):
            spoken.result(timeout=10)
        with pytest.raises(genai.errors.ServerError, match="engine"):
            generated.result(timeout=10)
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2][6:])["error"]["type"] == "server_error"
    wait_healthy(own_server, seconds=20)
    answer = httpx.post(
        f"{own_server.url}/v1/completions", json={"model": model, "prompt": "Hi"}, timeout=30
    )
    assert answer.status_code == 200


def test_sigterm_drains_then_leaves(own_server: Server) -> None:
    model, texts = model_of(own_server.url), []

    def read() -> None:
        body = {**LONG, "model": model, "max_tokens": 200}
        answer = httpx.post(f"{own_server.url}/v1/completions", json=body, timeout=60)
        texts.append(answer.json()["choices"][0]["finish_reason"])

    reader = threading.Thread(target=read)
    reader.start()
    own_server.wait_for(RUNNING, 1)
    engine = own_server.engine_pid()
    assert stop_server(own_server) == 0
    reader.join(timeout=10)
    assert texts == ["length"]
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)
