"""streamGenerateContent: events, arrays, and what every chunk must have."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from engine.errors import EngineFault, EngineUnavailable, Overloaded
from engine.types import GenerationRequest
from server.app import create_app
from tests.fakes import ScriptedEngine
from tests.server.gemini.conftest import Serve
from tests.server.gemini.helpers import GENERATE, SSE, STREAM, ask, events, settings, text_of


@pytest.mark.parametrize(
    "query", ["alt=sse", "key=k&alt=sse", "alt=sse&prettyPrint=false", "%24alt=sse"]
)
def test_g5_alt_sse_anywhere_in_the_query_is_an_event_stream(
    client: TestClient, query: str
) -> None:
    answer = client.post(f"{STREAM}?{query}", json=ask())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert "".join(map(text_of, events(answer.content))) == "hello world"


@pytest.mark.parametrize("query", ["", "?alt=json", "?%24alt=json%3Benum-encoding%3Dint"])
def test_g6_g7_without_alt_sse_it_is_one_json_array(client: TestClient, query: str) -> None:
    answer = client.post(f"{STREAM}{query}", json=ask())
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert answer.content[:1] == b"["
    chunks = answer.json()
    assert "".join(map(text_of, chunks)) == "hello world"
    as_events = events(client.post(SSE, json=ask()).content)
    for chunk in [*chunks, *as_events]:
        del chunk["responseId"]
    assert chunks == as_events


def test_g8_g9_g10_events_are_single_data_lines(serve: Serve) -> None:
    nasty = 'line\nbreak \u2028 \u2029 \x85 "quoted" {brace} \\ 日本 🎈'
    answer = serve(ScriptedEngine(nasty)).post(SSE, json=ask())
    frames = answer.content.split(b"\r\n\r\n")
    assert frames.pop() == b""
    for frame in frames:
        assert frame.startswith(b"data: {")
        assert b"\n" not in frame and b"\r" not in frame
        json.loads(frame.removeprefix(b"data: "))
    assert "".join(map(text_of, events(answer.content))) == nasty


@pytest.mark.parametrize("config", [{}, {"maxOutputTokens": 3}, {"stopSequences": ["o w"]}])
def test_g12_g13_g14_only_the_last_chunk_has_a_finish_reason_and_it_has_text(
    client: TestClient, config: dict[str, Any]
) -> None:
    chunks = events(client.post(SSE, json=ask(**config)).content)
    assert len(chunks) > 1
    for chunk in chunks:
        (candidate,) = chunk["candidates"]
        assert candidate["content"]["role"] == "model"
        assert candidate["index"] == 0
        assert text_of(chunk) != ""
        assert ("finishReason" in candidate) == (chunk is chunks[-1])
    reason = "MAX_TOKENS" if "maxOutputTokens" in config else "STOP"
    assert chunks[-1]["candidates"][0]["finishReason"] == reason


def test_an_empty_answer_is_one_chunk_with_empty_text(serve: Serve) -> None:
    (chunk,) = events(serve(ScriptedEngine("")).post(SSE, json=ask()).content)
    assert chunk["candidates"][0] == {
        "content": {"parts": [{"text": ""}], "role": "model"},
        "index": 0,
        "finishReason": "STOP",
    }


def test_g15_g16_g18_counts_grow_and_names_stay(client: TestClient) -> None:
    chunks = events(client.post(SSE, json=ask()).content)
    usages = [chunk["usageMetadata"] for chunk in chunks]
    counts = [usage["candidatesTokenCount"] for usage in usages]
    assert len({usage["promptTokenCount"] for usage in usages}) == 1
    assert counts == sorted(counts)
    assert counts[-1] == len("hello world") + 1
    for usage in usages:
        total = usage["promptTokenCount"] + usage["candidatesTokenCount"]
        assert usage["totalTokenCount"] == total
    assert len({(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks}) == 1


def test_g16_every_response_has_an_id_of_its_own_even_with_equal_request_ids(
    client: TestClient,
) -> None:
    answers = [
        client.post(GENERATE, json=ask(), headers={"x-request-id": "same"}) for _ in range(2)
    ]
    assert len({answer.json()["responseId"] for answer in answers}) == 2


@pytest.mark.parametrize("config", [{}, {"maxOutputTokens": 7}, {"stopSequences": ["wor"]}])
def test_g17_the_stream_adds_up_to_the_whole_answer(serve: Serve, config: dict[str, Any]) -> None:
    client = serve(ScriptedEngine("héllo wörld 🎈"))
    whole = client.post(GENERATE, json=ask(**config)).json()
    chunks = events(client.post(SSE, json=ask(**config)).content)
    assert "".join(map(text_of, chunks)) == text_of(whole)
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]


def test_g38_streamed_candidates_stand_in_every_chunk_and_finish_together(serve: Serve) -> None:
    def reply(request: GenerationRequest) -> str:
        return ("a", "bcd", "")[int(request.request_id[-1])]

    chunks = events(serve(ScriptedEngine(reply)).post(SSE, json=ask(candidateCount=3)).content)
    for chunk in chunks:
        candidates = chunk["candidates"]
        assert [candidate["index"] for candidate in candidates] == [0, 1, 2]
        assert all(candidate["content"]["role"] == "model" for candidate in candidates)
        finished = ["finishReason" in candidate for candidate in candidates]
        assert finished == [chunk is chunks[-1]] * 3
    texts = ["".join(text_of(chunk, index) for chunk in chunks) for index in range(3)]
    assert texts == ["a", "bcd", ""]
    assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == 2 + 4 + 1


def test_g40_g41_each_chunk_has_the_logprobs_of_its_own_tokens(serve: Serve) -> None:
    config = {"responseLogprobs": True, "logprobs": 2}
    client = serve(ScriptedEngine("aé"))
    whole = client.post(GENERATE, json=ask(**config)).json()["candidates"][0]
    chunks = events(client.post(SSE, json=ask(**config)).content)
    candidates = [chunk["candidates"][0] for chunk in chunks]
    for name in ("chosenCandidates", "topCandidates"):
        entries = [entry for c in candidates for entry in c["logprobsResult"][name]]
        assert entries == whole["logprobsResult"][name]
    assert ["avgLogprobs" in c for c in candidates] == [False, True]
    assert "logProbabilitySum" not in candidates[0]["logprobsResult"]
    assert candidates[1]["avgLogprobs"] == whole["avgLogprobs"]
    total = whole["logprobsResult"]["logProbabilitySum"]
    assert candidates[1]["logprobsResult"]["logProbabilitySum"] == total


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (Overloaded("The queue is full.", 7), 429, "RESOURCE_EXHAUSTED"),
        (EngineUnavailable("restarting"), 503, "UNAVAILABLE"),
        (EngineFault("It broke."), 500, "INTERNAL"),
    ],
)
@pytest.mark.parametrize("at_first_token", [False, True])
def test_g60_g61_g65_errors_before_the_stream_have_their_status(
    serve: Serve, error: Exception, status: int, name: str, at_first_token: bool
) -> None:
    fault: dict[str, Any] = {"fail_with" if at_first_token else "refuse_with": error}
    for path in (SSE, GENERATE, STREAM):
        answer = serve(ScriptedEngine(**fault)).post(path, json=ask())
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json; charset=UTF-8"
        body = answer.json()
        if path is STREAM:
            (body,) = body
        assert body["error"]["code"] == status
        assert body["error"]["status"] == name
        if status in (429, 503):
            delay = "7s" if status == 429 else "2s"
            (info,) = body["error"]["details"]
            assert info["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
            assert info["retryDelay"] == delay


def test_g62_an_error_in_an_event_stream_is_said_twice(serve: Serve) -> None:
    fault = EngineFault("It {broke}.")
    engine = ScriptedEngine(fail_with=fault, fail_after=5)
    answer = serve(engine).post(SSE, json=ask())
    assert answer.status_code == 200
    *frames, bare, again, end = answer.content.split(b"\r\n\r\n")
    assert end == b""
    assert bare.startswith(b'{"error":{"code":500,')
    assert bare.count(b"{") == bare.count(b"}") == 2
    assert again == b"data: " + bare
    assert json.loads(bare)["error"]["message"] == "It {broke}."
    assert json.loads(bare)["error"]["status"] == "INTERNAL"
    text = "".join(text_of(json.loads(frame.removeprefix(b"data: "))) for frame in frames)
    assert text == "hello"
    assert b"finishReason" not in answer.content


def test_g62_an_error_in_an_array_is_its_last_element(serve: Serve) -> None:
    engine = ScriptedEngine(fail_with=EngineFault("It broke."), fail_after=5)
    *chunks, last = serve(engine).post(STREAM, json=ask()).json()
    assert "".join(map(text_of, chunks)) == "hello"
    assert last["error"]["code"] == 500


def test_g66_the_callers_time_limit_is_a_504(serve: Serve) -> None:
    headers = {"x-server-timeout": "0.05"}
    engine = ScriptedEngine(first_delay=30)
    client = serve(engine)
    for path in (GENERATE, SSE):
        answer = client.post(path, json=ask(), headers=headers)
        assert answer.status_code == 504
        assert answer.json()["error"]["status"] == "DEADLINE_EXCEEDED"
    assert len(engine.aborted) == 2
    assert not engine.open


def test_g66_in_a_running_stream_the_time_limit_is_an_error_event(serve: Serve) -> None:
    engine = ScriptedEngine(gate=asyncio.Event(), gate_after=3)
    answer = serve(engine).post(SSE, json=ask(), headers={"x-server-timeout": "0.2"})
    assert answer.status_code == 200
    *chunks, last = answer.content.strip().split(b"\r\n\r\n")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == 504
    assert len(engine.aborted) == 1


@pytest.mark.parametrize("path", [GENERATE, SSE])
def test_g66_the_time_limit_also_ends_what_never_has_to_wait(serve: Serve, path: str) -> None:
    """The engine is always a delta ahead, so the moment passes between two of them."""
    engine = ScriptedEngine("x" * 100_000, max_model_len=1_000_000)
    answer = serve(engine).post(path, json=ask(), headers={"x-server-timeout": "0.05"})
    assert answer.status_code == (504 if path == GENERATE else 200)
    assert "DEADLINE_EXCEEDED" in answer.text
    assert len(engine.aborted) == 1 and not engine.open


@pytest.mark.parametrize("value", ["", "soon", "-1", "0", "nan", "inf", "60"])
def test_a_time_limit_that_says_nothing_or_enough_changes_nothing(
    client: TestClient, value: str
) -> None:
    answer = client.post(GENERATE, json=ask(), headers={"x-server-timeout": value})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", [GENERATE, SSE, STREAM])
def test_g69_a_client_that_leaves_aborts_its_samples(path: str) -> None:
    async def leave() -> ScriptedEngine:
        engine = ScriptedEngine(gate=asyncio.Event(), gate_after=2)
        app = create_app(engine, settings())
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            request = asyncio.create_task(client.post(path, json=ask(candidateCount=2)))
            while len(engine.open) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        return engine

    engine = asyncio.run(leave())
    assert len(engine.aborted) == 2
    assert not engine.open
