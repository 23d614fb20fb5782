"""The OpenAI dialect's paths, under every prefix that clients put before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.dialects import dialect_of
from server.errors import MethodNotAllowed
from server.gemini.models import find_model, model_page
from server.gemini.paths import bare_model_id
from server.gemini.routes import is_call
from server.model_list import union_model
from server.openai.chat import CHAT_NAMES, create_chat_completion
from server.openai.chat_schema import ChatRequest
from server.openai.completions import create_completion
from server.openai.completions_schema import CompletionRequest
from server.openai.embeddings import EmbeddingRequest, refuse_embeddings
from server.openai.endpoint import Handler, json_response, speaking_openai
from server.openai.models import get_model, list_models
from server.openai.responses.answering import NAMES as RESPONSE_NAMES
from server.openai.responses.handlers import Responses
from server.openai.responses.request import ResponseRequest
from server.openai.responses.store import ResponseStore
from server.openai.sampling import NAMES
from server.openai.tokenizing import (
    DetokenizeRequest,
    TokenizeRequest,
    create_text,
    create_tokens,
    get_tokenizer_info,
)
from server.openai.wire import Body, schema_of
from server.state import AppState

PREFIXES = ("/v1", "", "/v1beta/openai")

Work = Callable[[AppState, Request], Awaitable[Response]]


def create_router(state: AppState, store: ResponseStore) -> APIRouter:
    """All routes of the dialect. The documentation shows the first prefix only."""
    router = APIRouter(tags=["openai"])
    completions = _bind(state, create_completion, NAMES)
    chat = _bind(state, create_chat_completion, CHAT_NAMES)
    embeddings = _bind(state, refuse_embeddings, NAMES)
    for prefix in PREFIXES:
        shown = prefix == PREFIXES[0]
        _post(router, f"{prefix}/completions", completions, CompletionRequest, shown=shown)
        _post(router, f"{prefix}/chat/completions", chat, ChatRequest, shown=shown)
        _post(router, f"{prefix}/embeddings", embeddings, EmbeddingRequest, shown=shown)
        _add_tokenizer(router, prefix, state, shown=shown)
        _add_responses(router, prefix, Responses(state, store), shown=shown)
        _add_models(router, prefix, state, shown=shown)
    return router


def _bind(state: AppState, work: Work, names: Mapping[str, str]) -> Handler:
    async def handle(request: Request) -> Response:
        return await work(state, request)

    return speaking_openai(handle, names)


def _post(router: APIRouter, path: str, handler: Handler, body: type[Body], *, shown: bool) -> None:
    documented: dict[str, Any] = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema_of(body)}},
        }
    }
    router.add_api_route(
        path,
        handler,
        methods=["POST"],
        response_model=None,
        include_in_schema=shown,
        openapi_extra=documented,
        name=body.__name__,
    )


def _add_tokenizer(router: APIRouter, prefix: str, state: AppState, *, shown: bool) -> None:
    tokenize = _bind(state, create_tokens, NAMES)
    detokenize = _bind(state, create_text, {"prompt": "tokens"})
    _post(router, f"{prefix}/tokenize", tokenize, TokenizeRequest, shown=shown)
    _post(router, f"{prefix}/detokenize", detokenize, DetokenizeRequest, shown=shown)
    router.add_api_route(
        f"{prefix}/tokenizer_info",
        _bind(state, get_tokenizer_info, NAMES),
        methods=["GET"],
        response_model=None,
        include_in_schema=shown,
        name="tokenizer_info",
    )


def _add_responses(router: APIRouter, prefix: str, responses: Responses, *, shown: bool) -> None:
    path = f"{prefix}/responses"

    def add(method: str, suffix: str, handler: Handler) -> None:
        router.add_api_route(
            path + suffix,
            speaking_openai(handler, RESPONSE_NAMES),
            methods=[method],
            response_model=None,
            include_in_schema=shown,
            name=f"{method}_response{suffix}",
        )

    for suffix, handler in (("", responses.create), ("/input_tokens", responses.count)):
        spoken = speaking_openai(handler, RESPONSE_NAMES)
        _post(router, path + suffix, spoken, ResponseRequest, shown=shown)
    add("POST", "/compact", responses.not_offered)
    add("POST", "/{response_id}/cancel", responses.cancel)
    add("GET", "/{response_id}/input_items", responses.input_items)
    add("GET", "/{response_id}", responses.get)
    add("DELETE", "/{response_id}", responses.delete)


def _add_models(router: APIRouter, prefix: str, state: AppState, *, shown: bool) -> None:
    async def models(request: Request) -> Response:
        listed = list_models(state)
        if dialect_of(request.scope) == "gemini":  # the one dialect that lists in pages
            del listed["models"]
            listed |= model_page(state, request.query_params)
        return json_response(listed)

    async def model(request: Request) -> Response:
        name: str = request.path_params["name"]
        if is_call(request.scope["path"]):
            raise MethodNotAllowed(request.method, request.scope["path"], "POST")
        if dialect_of(request.scope) == "gemini":  # whose names mean the served model, too
            return json_response(union_model(find_model(state, name), bare_model_id(name)))
        return json_response(get_model(state, name))

    def add(path: str, handler: Handler, name: str) -> None:
        # The dialect of these errors depends on who asks: the app answers them.
        router.add_api_route(
            path,
            handler,
            methods=["GET"],
            response_model=None,
            include_in_schema=shown,
            name=name,
        )

    add(f"{prefix}/models", models, "models")
    add(f"{prefix}/models/{{name:path}}", model, "model")
