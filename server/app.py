"""The web application: middleware, routers, and errors that no route answered.

Knows which parts there are and in which order they stand; none of their business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from engine import Engine, EngineError
from server import ops
from server.dialects import error_response
from server.errors import BadBody, InternalError, MethodNotAllowed, PathNotFound, RequestProblem
from server.gemini import routes as gemini
from server.middleware import ApiKeys, BodyLimit, RequestContext
from server.openai import routes as openai
from server.openai.responses.store import ResponseStore
from server.settings import ServerSettings
from server.sse import ClientGone
from server.state import AppState, create_state

_THIS_MACHINE = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
"""Pages served by this machine; any other page could use the server behind its user's back."""

_METHODS = ("GET", "POST", "DELETE")
"""All that any route has."""


def create_app(engine: Engine, settings: ServerSettings, state: AppState | None = None) -> FastAPI:
    """The application over one engine; it starts the engine with itself and stops it.

    `state` is given by whoever needs the door and the instruments too, as the draining server.

    Raises:
        OSError: a file that the settings name cannot be used.
    """
    parts = state or create_state(engine, settings)
    store = ResponseStore(
        settings.response_store,
        limit=settings.max_stored_responses,
        seconds=settings.response_store_seconds,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()
            await store.close()

    app = FastAPI(
        title="diglot", lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None
    )
    app.state.parts = parts
    app.include_router(ops.create_router(parts))
    app.include_router(openai.create_router(parts, store))
    app.include_router(gemini.create_router(parts))
    # The last one added is the first one passed.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(ApiKeys, keys=settings.api_keys())
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origin,
        allow_origin_regex=_THIS_MACHINE,
        allow_methods=_METHODS,
        allow_headers=["*"],  # answered by naming those that were asked for
        expose_headers=["x-request-id", "retry-after", "retry-after-ms"],
    )
    app.add_middleware(RequestContext, metrics=parts.metrics)
    app.add_exception_handler(EngineError, _on_engine_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientGone, _on_client_gone)
    app.add_exception_handler(Exception, _on_bug)
    return app


async def _on_engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    return error_response(request.scope, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses."""
    assert isinstance(error, HTTPException)
    problem: RequestProblem
    if error.status_code == 404:
        problem = PathNotFound(request.method, request.url.path)
    elif error.status_code == 405:
        problem = MethodNotAllowed(request.method, request.url.path, _allowed_methods(request))
    else:
        problem = BadBody(str(error.detail))
    return error_response(request.scope, problem)


def _allowed_methods(request: Request) -> str:
    """The methods that this path has, which may be those of several routes; the router names the
    first one's only."""
    if gemini.is_call(request.scope["path"]):
        return "POST"
    app: FastAPI = request.app
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return ", ".join(
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in app.routes)
    )


async def _on_client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the access log does


async def _on_bug(request: Request, _error: Exception) -> Response:
    """Runs outside of the middleware, so it names the request id itself. The error goes on to
    the server's log after this."""
    response = error_response(request.scope, InternalError())
    response.headers["x-request-id"] = getattr(request.state, "request_id", "")
    return response
