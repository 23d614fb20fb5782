"""Which names the served model answers to, and how it is listed.

Gemini clients have Google's model names built in; every such name means the served model here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from engine import InvalidRequest, ModelCard, ModelNotFound
from server.gemini.paths import bare_model_id
from server.model_list import gemini_model
from server.state import AppState

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
_CATCH_ALL = ("gemini-*", "gemma-*", "*-latest")

T = TypeVar("T")


def find_model(state: AppState, name: str) -> ModelCard:
    """The model that `name` means: its own names, and all that Google's models have.

    Raises:
        ModelNotFound: neither; a mistyped name should surface.
        EngineUnavailable: loading, restarting or draining.
    """
    name = bare_model_id(name)
    if name in state.settings.all_names:
        return state.card(name)
    if any(fnmatchcase(name, pattern) for pattern in _CATCH_ALL):
        return state.card(state.settings.model_names[0])
    raise ModelNotFound(name)


def model_resource(state: AppState, name: str) -> dict[str, object]:
    """The answer to `GET models/{name}`. Raises as `find_model`."""
    return gemini_model(find_model(state, name), bare_model_id(name))


def model_page(state: AppState, query: Mapping[str, str]) -> dict[str, object]:
    """The answer to `GET models`; `query` may hold pageSize and pageToken."""
    names, next_token = page(state.settings.all_names, query)
    body: dict[str, object] = {"models": [model_resource(state, name) for name in names]}
    if next_token:
        body["nextPageToken"] = next_token
    return body


def page(items: Sequence[T], query: Mapping[str, str]) -> tuple[Sequence[T], str]:
    """The wanted page of `items`, and the token of the next one ("" at the end).

    Raises:
        InvalidRequest: a page size or token that makes no sense.
    """
    size = _number(query, "page_size", "pageSize") or DEFAULT_PAGE_SIZE
    start = _number(query, "page_token", "pageToken")
    end = start + min(size, MAX_PAGE_SIZE)
    return items[start:end], str(end) if end < len(items) else ""


def _number(query: Mapping[str, str], name: str, camel: str) -> int:
    """A page token is an offset; the caller need not know."""
    value = query.get(camel) or query.get(name) or "0"
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise InvalidRequest(f"Invalid value at '{name}': {value[:60]!r}", name)
    return int(value)
