"""Statements of the Gemini contract on streams, against a real process (numbers as there)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
from google import genai

from tests.e2e.conformance.wire import MODEL, Api, ask, text_of

STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent"
STORY = ask("Tell me a short story about a dog.", temperature=0, maxOutputTokens=40)


def test_g5_where_alt_stands(api: Api) -> None:
    for query in ("alt=sse", "key=x&alt=sse", "alt=sse&prettyPrint=true"):
        answer = api.post(f"{STREAM}?{query}", ask())
        assert answer.headers["content-type"].startswith("text/event-stream")


def test_g6_g7_arrays(api: Api) -> None:
    texts = set()
    for query in ("", "?alt=json", "?%24alt=json%3Benum-encoding%3Dint"):
        answer = api.post(STREAM + query, STORY)
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.content.startswith(b"[")
        texts.add("".join(map(text_of, json.loads(answer.content))))
    assert len(texts) == 1


def test_g8_g9_g10_framing(api: Api, strict: Api) -> None:
    """The second server is the one that sends comments in the other dialect all the time."""
    second = STREAM.replace(MODEL, "second")
    for data in (api.raw(f"{STREAM}?alt=sse", STORY), strict.raw(f"{second}?alt=sse", STORY)):
        *blocks, rest = data.split(b"\r\n\r\n")
        assert rest == b"" and b"[DONE]" not in data
        for block in blocks:
            assert block.startswith(b"data: ") and b"\n" not in block
            json.loads(block.removeprefix(b"data: "))


def test_g12_g13_g14_g15_g16_g70_chunks(api: Api) -> None:
    chunks = api.events(STORY)
    assert len(chunks) > 3
    reasons = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
    assert reasons[-1] in ("STOP", "MAX_TOKENS") and not any(reasons[:-1])
    for chunk in chunks:
        content = chunk["candidates"][0]["content"]
        assert content["parts"] and content["role"] == "model"
    usages = [chunk["usageMetadata"] for chunk in chunks]
    assert len({usage["promptTokenCount"] for usage in usages}) == 1
    counts = [usage["candidatesTokenCount"] for usage in usages]
    assert counts == sorted(counts)
    for name in ("responseId", "modelVersion"):
        assert len({chunk[name] for chunk in chunks}) == 1


def test_g12_g13_g14_several_candidates_end_together(api: Api) -> None:
    body = ask("Tell me a short story about a dog.", candidateCount=3, maxOutputTokens=20)
    chunks = api.events(body)
    for chunk in chunks:
        assert [candidate["index"] for candidate in chunk["candidates"]] == [0, 1, 2]
        assert all(candidate["content"]["parts"] for candidate in chunk["candidates"])
    ended = [[c.get("finishReason") for c in chunk["candidates"]] for chunk in chunks]
    assert all(ended[-1]) and not any(any(reasons) for reasons in ended[:-1])


def test_g17_g18_g19_streams_say_what_answers_say(api: Api) -> None:
    whole, chunks = api.generate(STORY), api.events(STORY)
    assert "".join(map(text_of, chunks)) == text_of(whole)
    usage = whole["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] == usage["totalTokenCount"]
    assert "null" not in json.dumps(whole) and "_" not in "".join(whole) + "".join(usage)


def test_g11_segments_do_not_matter(api: Api, live_server: str) -> None:
    with in_segments(live_server, size=3) as url:
        with genai.Client(api_key="x", http_options={"base_url": url}) as client:
            chunks = client.models.generate_content_stream(
                model=MODEL, contents="Say: 🐶", config={"temperature": 0, "max_output_tokens": 20}
            )
            text = "".join(chunk.text or "" for chunk in chunks)
    assert text == text_of(api.generate(ask("Say: 🐶", temperature=0, maxOutputTokens=20)))


@contextmanager
def in_segments(url: str, size: int) -> Iterator[str]:
    """The server behind a proxy that hands its answers on in pieces of a few bytes."""
    target = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection((target.hostname or "", target.port or 0)) as up:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            forward = threading.Thread(target=_copy, args=(client, up, 65536), daemon=True)
            forward.start()
            _copy(up, client, size)

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _copy(source: socket.socket, sink: socket.socket, size: int) -> None:
    try:
        while data := source.recv(65536):
            for start in range(0, len(data), size):
                sink.sendall(data[start : start + size])
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side is gone


def test_g69_leaving_frees_the_slot(strict: Api) -> None:
    path = "/v1beta/models/second:streamGenerateContent?alt=sse"
    body = ask("Once", ignoreEos=True, maxOutputTokens=1500)
    for _ in range(3):  # there is room for two
        for _ in range(2):
            with httpx.stream(
                "POST", strict.url + path, json=body, headers=dict(strict.http.headers)
            ) as answer:
                assert answer.status_code == 200
                next(answer.iter_raw())
        left, status = time.monotonic(), 0
        while status != 200:
            assert time.monotonic() - left < 1
            short = ask("Once", maxOutputTokens=1)
            status = strict.post("/v1beta/models/second:generateContent", short).status_code
