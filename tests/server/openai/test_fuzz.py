"""Whatever JSON comes in, the answer is an answer or names a fault; never a 500."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from server.openai.chat_schema import ChatRequest
from server.openai.completions_schema import CompletionRequest
from tests.server.client import MODEL, Client

CLIENT = Client()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def bodies(kind: Any, base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = [*kind.model_fields, *kind.refused, *kind.aliases]
    changes = st.dictionaries(st.sampled_from(names), JSON | SCALARS, max_size=3)
    return changes.map(lambda fields: base | fields)


def check(path: str, body: dict[str, Any]) -> None:
    content = json.dumps(body).replace("Infinity", "1e999")
    reply = CLIENT.request("POST", path, content=content)
    CLIENT.engine.requests.clear()
    assert reply.status in (200, 400, 404), reply.content
    if reply.status != 200:
        assert set(reply.error) == {"message", "type", "param", "code"}
    assert CLIENT.state is not None and CLIENT.state.admission.idle
    assert not CLIENT.engine.open


@settings(max_examples=150, deadline=None)
@given(bodies(CompletionRequest, {"model": MODEL, "prompt": "a", "max_tokens": 2}))
def test_completions(body: dict[str, Any]) -> None:
    check("/v1/completions", body)


@settings(max_examples=150, deadline=None)
@given(bodies(ChatRequest, {"model": MODEL, "messages": [{"role": "user", "content": "a"}]}))
def test_chats(body: dict[str, Any]) -> None:
    check("/v1/chat/completions", body)


PARTS = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "refusal"]) | JSON, "text": JSON}
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", "developer"]) | JSON,
        "content": st.lists(PARTS | JSON, max_size=2) | JSON,
        "tool_calls": JSON | st.lists(st.fixed_dictionaries({"function": JSON}), max_size=2),
        "name": JSON,
        "reasoning": JSON,
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES | JSON, max_size=3))
def test_messages(messages: list[Any]) -> None:
    check("/v1/chat/completions", {"model": MODEL, "messages": messages, "max_tokens": 2})
