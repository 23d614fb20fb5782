"""The Gemini dialect's paths and verbs.

Model ids hold slashes and colons, so one route takes every `POST ...:verb` and reads the path
itself. `GET /v1/models` and `GET /models` belong to both dialects and are answered elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from engine import EngineError, InvalidRequest, ModelCard
from server.body import read_json
from server.dialects import gemini_response, streams_array
from server.errors import MethodNotAllowed, PathNotFound
from server.gemini.calls import Call, encode_prompt, open_call
from server.gemini.deadline import Deadline, parse_timeout
from server.gemini.errors import VerbNotOffered, error_reply
from server.gemini.framing import ArrayFraming, EventFraming
from server.gemini.json_text import encode_json
from server.gemini.models import find_model, model_page, model_resource
from server.gemini.paths import parse_call, parse_resource
from server.gemini.proto_json import read
from server.gemini.schema import CountTokensRequest, GenerateContentRequest
from server.gemini.tools import tool_use_of
from server.sse import EventStream, run_until_disconnect
from server.state import AppState

VERSIONS = ("/v1beta", "/v1alpha", "/v1beta1")
JSON = "application/json; charset=UTF-8"

_EMBEDDING_VERBS = ("embedContent", "batchEmbedContents", "asyncBatchEmbedContent")
_VERBS_NOT_OFFERED = (
    "batchGenerateContent",
    "bidiGenerateContent",
    "generateAnswer",
    "predict",
    "predictLongRunning",
)

_Handler = Callable[[AppState, ModelCard, Request], Awaitable[Response]]


def create_router(state: AppState) -> APIRouter:
    """All routes of the dialect."""
    router = APIRouter(tags=["gemini"])
    router.add_api_route(
        "/{resource:path}:{verb}", _endpoint(state, _post), methods=["POST"], name="gemini_call"
    )
    gets = [(f"{version}/models", _list_models, _get_model) for version in VERSIONS]
    gets += [
        (f"{version}/tunedModels", _list_tuned_models, _get_model)
        for version in (*VERSIONS, "/v1", "")
    ]
    for path, of_all, of_one in gets:
        router.add_api_route(path, _endpoint(state, of_all), methods=["GET"])
        router.add_api_route(f"{path}/{{name:path}}", _endpoint(state, of_one), methods=["GET"])
    for version in ("/v1", "/v1beta1", "/v1beta"):
        publisher = f"{version}/publishers/google/models"
        router.add_api_route(publisher, _endpoint(state, _list_published), methods=["GET"])
        for path in (f"{publisher}/{{name:path}}", f"{version}/projects/{{name:path}}"):
            router.add_api_route(path, _endpoint(state, _get_model), methods=["GET"])
    return router


def is_call(path: str) -> bool:
    """Whether a path ends with a verb of the Gemini API: such paths are posted to only."""
    verb = parse_call(path).verb
    return verb in _HANDLERS or verb in _VERBS_NOT_OFFERED


def _endpoint(
    state: AppState, handler: Callable[[AppState, Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """The handler with its errors in this dialect."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(state, request)
        except EngineError as error:
            in_array = streams_array(request.scope)
            return gemini_response(error_reply(error), in_array=in_array)

    return endpoint


async def _post(state: AppState, request: Request) -> Response:
    target = parse_call(request.scope["path"])
    handler = _HANDLERS.get(target.verb)
    if handler is None and target.verb in _VERBS_NOT_OFFERED:
        raise VerbNotOffered(target.verb)
    if handler is None:
        raise PathNotFound(request.method, request.scope["path"])
    return await handler(state, find_model(state, target.model), request)


async def _generate(state: AppState, card: ModelCard, request: Request) -> Response:
    call = await _open(state, card, request)
    data = await run_until_disconnect(request, call.whole(), call.generation.abort)
    return Response(data, media_type=JSON)


async def _stream(state: AppState, card: ModelCard, request: Request) -> Response:
    framing = ArrayFraming() if streams_array(request.scope) else EventFraming()
    call = await _open(state, card, request)
    # The first result comes before the headers, so that early failures have their own status.
    await run_until_disconnect(request, call.start(), call.generation.abort)
    return EventStream(
        call.frames(framing),
        abort=call.generation.abort,
        error_frames=partial(call.error_frames, framing),
        media_type=framing.media_type,
    )


async def _open(state: AppState, card: ModelCard, request: Request) -> Call:
    deadline = Deadline(parse_timeout(request.headers.get("x-server-timeout")))
    body = await read_json(request, any_type=True)
    message = read(GenerateContentRequest, body, state.unknown_fields)
    return await open_call(state, card, message, deadline)


async def _count_tokens(state: AppState, card: ModelCard, request: Request) -> Response:
    body = await read_json(request, any_type=True)
    message = read(CountTokensRequest, body, state.unknown_fields)
    counted = message.generate_content_request or message
    count = len(await encode_prompt(state, counted, tool_use_of(counted)))
    details = [{"modality": "TEXT", "tokenCount": count}]
    return _json({"totalTokens": count, "promptTokensDetails": details})


async def _refuse_embedding(state: AppState, card: ModelCard, request: Request) -> Response:
    raise InvalidRequest(f"models/{card.id} is not an embedding model.")


async def _list_models(state: AppState, request: Request) -> Response:
    return _json(model_page(state, request.query_params))


async def _list_published(state: AppState, request: Request) -> Response:
    page = model_page(state, request.query_params)
    return _json({"publisherModels": page.pop("models"), **page})


async def _list_tuned_models(state: AppState, request: Request) -> Response:
    return _json({"tunedModels": []})


async def _get_model(state: AppState, request: Request) -> Response:
    path: str = request.scope["path"]
    if is_call(path):
        raise MethodNotAllowed(request.method, path, "POST")
    return _json(model_resource(state, parse_resource(path).model))


def _json(value: object) -> Response:
    return Response(encode_json(value), media_type=JSON)


_HANDLERS: dict[str, _Handler] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count_tokens,
    **dict.fromkeys(_EMBEDDING_VERBS, _refuse_embedding),
}
