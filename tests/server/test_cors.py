"""Which web pages may call."""

from __future__ import annotations

from typing import Any

import pytest

from server.settings import ServerSettings
from tests.server.client import Client, Reply

HERE, ELSEWHERE = "http://localhost:3000", "https://chat.example"
HEADERS = "authorization, content-type, x-stainless-lang"


def preflight(one: Client, origin: str) -> Reply:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": HEADERS,
    }
    return one.request("OPTIONS", "/v1/chat/completions", headers=headers)


def client(**values: Any) -> Client:
    return Client(settings=ServerSettings(**values))


@pytest.mark.parametrize("key", [[], ["secret"]])
def test_a_preflight_names_the_headers_and_needs_no_key(key: list[str]) -> None:
    reply = preflight(client(api_key=key), HERE)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == HERE
    assert reply.headers["access-control-allow-headers"] == HEADERS
    assert "POST" in reply.headers["access-control-allow-methods"]


def test_answers_and_errors_can_be_read_by_the_page() -> None:
    one = client(api_key=["secret"])
    for path in ("/health", "/v1/models"):  # a page may also read that its key is missing
        reply = one.get(path, headers={"Origin": HERE})
        assert reply.headers["access-control-allow-origin"] == HERE
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_streams_have_the_headers_too() -> None:
    one = client()
    body = {"model": "diglot-mini", "prompt": "a", "stream": True}
    reply = one.post("/v1/completions", body, headers={"Origin": HERE})
    assert reply.headers["access-control-allow-origin"] == HERE and reply.chunks


def test_pages_of_elsewhere_only_when_they_are_allowed() -> None:
    assert "access-control-allow-origin" not in preflight(client(), ELSEWHERE).headers
    for allowed in (ELSEWHERE, f"https://other.example,{ELSEWHERE}", "*"):
        reply = preflight(client(cors_origin=[allowed]), ELSEWHERE)
        assert reply.headers["access-control-allow-origin"] in (ELSEWHERE, "*")
    other = "http://localhost.evil.example"
    assert "access-control-allow-origin" not in preflight(client(), other).headers
