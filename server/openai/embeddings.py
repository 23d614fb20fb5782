"""`POST /v1/embeddings`: a generative model has none, and says so where clients look for them."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from engine import UnsupportedParameter
from server.body import read_json
from server.openai.wire import Body, parse
from server.state import AppState


class EmbeddingRequest(Body):
    """All that is read of it."""

    model: str


async def refuse_embeddings(state: AppState, request: Request) -> Response:
    """Never returns. Raises as `parse`, `ModelNotFound`, and else `UnsupportedParameter`."""
    body = await read_json(request)
    fields = parse(EmbeddingRequest, {"model": body.get("model")}, state.unknown_fields)
    state.card(fields.model)
    raise UnsupportedParameter("model", f"'{fields.model}' is no model of embeddings.")
