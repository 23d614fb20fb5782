"""What both generating endpoints do around their own work: errors, ids, prompts that fit, replies.

Knows nothing of what a choice looks like.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from fastapi import Request
from fastapi.responses import Response

from engine import ContextLengthExceeded, EngineError, ModelCard
from server.dialects import openai_response
from server.errors import openai_error

Handler = Callable[[Request], Awaitable[Response]]


def speaking_openai(handler: Handler, names: Mapping[str, str]) -> Handler:
    """The handler, with its errors in this dialect and under the caller's field names."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except EngineError as error:
            return openai_response(openai_error(error, names))

    return handle


def new_head(kind: str, prefix: str, model: str, card: ModelCard) -> dict[str, object]:
    """The keys that every object of one answer shares."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": card.fingerprint,
    }


def check_context(
    prompts: Sequence[tuple[int, ...]], new_tokens: int | None, card: ModelCard
) -> None:
    """Refuse what cannot fit, before anything runs. None leaves room for one token at least.

    Raises:
        ContextLengthExceeded: a prompt and its new tokens are longer than the context.
    """
    wanted = 1 if new_tokens is None else new_tokens
    for prompt in prompts:
        if len(prompt) + wanted > card.max_model_len:
            raise ContextLengthExceeded(card.max_model_len, len(prompt), wanted)


def json_response(value: object) -> Response:
    """A 200 with the value as JSON."""
    return Response(msgspec.json.encode(value), media_type="application/json")
