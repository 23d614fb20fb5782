"""Two thousand malformed requests to a real process: never a 5xx, always the dialect's own error.

Half of them come from the server's own OpenAPI document, half are real bodies with something in
them replaced, dropped or added. All are seeded.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.e2e.conftest import start_server, stop_server

QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
OPENAI_KEYS = {"message", "type", "param", "code"}


@pytest.fixture(scope="module")
def small_server() -> Iterator[str]:
    """A server with little context, so that what turns out valid is soon over."""
    server = start_server("--max-model-len=192", "--log-level=error")
    yield server.url
    stop_server(server)


@pytest.fixture(scope="module")
def client(small_server: str) -> Iterator[httpx.Client]:
    """One for all requests: to make it takes longer than to answer them."""
    with httpx.Client(base_url=small_server, timeout=60) as client:
        yield client


def check(status: int, content: bytes, *, gemini: bool | None) -> None:
    """`gemini` is None for paths of both dialects, where the caller's headers decide."""
    assert status < 500, content
    if status < 400:
        return
    error = json.loads(content)
    error = error[0]["error"] if isinstance(error, list) else error["error"]
    if gemini or (gemini is None and "status" in error):
        assert error["code"] == status and error["status"] and error["message"]
    else:
        assert set(error) == OPENAI_KEYS and error["message"]


def test_requests_from_the_document(small_server: str) -> None:
    document: Any = schemathesis.openapi.from_url(f"{small_server}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 10
    cases = st.one_of([operation.as_strategy() for operation in operations])

    @seed(4)
    @settings(max_examples=900, deadline=None, database=None, suppress_health_check=QUIET)
    @given(cases)
    def run(case: Any) -> None:
        response = case.call()
        path = httpx.URL(str(response.request.url)).path
        if path not in ("/health", "/metrics"):
            openai = path.startswith(("/v1/chat", "/v1/completions", "/v1/responses"))
            gemini = False if openai and ":" not in path else None
            check(response.status_code, response.content, gemini=gemini)

    run()


TOOL = {
    "name": "f",
    "description": "A tool",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
REAL: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "diglot-mini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": "b"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "c"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "logit_bias": {"5": -1},
        "stop": ["x"],
        "max_tokens": 4,
        "stream": False,
        "logprobs": True,
        "top_logprobs": 2,
    },
    "/v1/completions": {
        "model": "diglot-mini",
        "prompt": ["a", "b"],
        "max_tokens": 4,
        "logprobs": 2,
        "echo": True,
        "n": 2,
        "best_of": 2,
        "seed": 3,
    },
    "/v1/responses": {
        "model": "diglot-mini",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "d"},
        ],
        "tools": [{"type": "function", **TOOL}],
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "max_output_tokens": 4,
    },
    "/v1beta/models/diglot-mini:generateContent": {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"parts": [{"functionResponse": {"name": "f", "response": {"output": "b"}}}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [{**TOOL, "parameters": {"type": "OBJECT"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "maxOutputTokens": 4,
            "temperature": 1,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
            "thinkingConfig": {"thinkingBudget": 0},
            "responseLogprobs": True,
            "logprobs": 2,
        },
    },
    "/v1beta/models/diglot-mini:streamGenerateContent": {
        "contents": [{"parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": 4, "candidateCount": 2, "stopSequences": ["x"]},
    },
    "/v1beta/models/diglot-mini:countTokens": {
        "generateContentRequest": {"contents": [{"parts": [{"text": "Hi"}]}]}
    },
    "/tokenize": {"messages": [{"role": "user", "content": "Hi"}], "return_token_strs": True},
    "/detokenize": {"tokens": [1, 2, 3]},
}
"""Bodies as clients send them."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to everything inside of a value."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, item in inner:
        yield (*at, key)
        yield from places(item, (*at, key))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """A real body in which up to three things are wrong."""
    path = draw(st.sampled_from(sorted(REAL)))
    body = copy.deepcopy(REAL[path])
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(body))
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        place: Any = body
        for key in way:
            place = place[key]
        match draw(st.sampled_from(["replace", "drop", "add"])):
            case "replace":
                place[last] = draw(VALUES)
            case "drop":
                del place[last]
            case _ if isinstance(place, dict):
                place[draw(st.sampled_from(["type", "x", "name", "text"]))] = draw(VALUES)
            case _:
                place.append(draw(VALUES))
    return path, body


@seed(4)
@settings(max_examples=1100, deadline=None, database=None, suppress_health_check=QUIET)
@given(mutated())
def test_real_bodies_with_something_wrong(client: httpx.Client, sent: tuple[str, Any]) -> None:
    path, body = sent
    answer = client.post(path, content=json.dumps(body).encode())
    check(answer.status_code, answer.content, gemini=":" in path)
