"""What both generating endpoints do around their own work: errors, ids, prompts that fit, replies.

Knows nothing of what a choice looks like.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import msgspec
from fastapi import Request
from fastapi.responses import Response

from engine import ContextLengthExceeded, EngineError, ModelCard
from server.dialects import openai_response
from server.errors import naming_grammar, openai_error
from server.generation import Generation, Sample
from server.openai.frames import error_writer
from server.sse import EventStream, ping, run_until_disconnect
from server.state import AppState

Handler = Callable[[Request], Awaitable[Response]]


def speaking_openai(handler: Handler, names: Mapping[str, str]) -> Handler:
    """The handler, with its errors in this dialect and under the caller's field names."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except EngineError as error:
            return openai_response(openai_error(error, names))

    return handle


async def reply(
    state: AppState,
    request: Request,
    generation: Generation,
    *,
    stream: bool,
    answer: Callable[[list[Sample]], object],
    frames: Callable[[], AsyncIterator[bytes]],
    names: Mapping[str, str],
    fields_by_line: Mapping[int, str] | None = None,
) -> Response:
    """Run a generation and write it: `answer` makes the whole body, `frames` the stream's.

    `fields_by_line`: as `naming_grammar` takes it.

    Raises:
        EngineError: anything that goes wrong before the first result.
        ClientGone: the client left.
    """
    with naming_grammar(names["grammar"], fields_by_line):
        if not stream:
            samples = await run_until_disconnect(request, generation.collect(), generation.abort)
            return json_response(answer(samples))
        await run_until_disconnect(request, generation.start(), generation.abort)
    return EventStream(
        frames(),
        abort=generation.abort,
        error_frames=error_writer(names),
        keep_alive=ping,
        keep_alive_seconds=state.settings.keep_alive_seconds,
    )


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
    prompts: Sequence[tuple[int, ...]],
    new_tokens: int | None,
    card: ModelCard,
    field: str = "prompt",
) -> None:
    """Refuse what cannot fit, before anything runs. None leaves room for one token at least.
    `field` is where the prompts come from.

    Raises:
        ContextLengthExceeded: a prompt and its new tokens are longer than the context.
    """
    wanted = 1 if new_tokens is None else new_tokens
    for prompt in prompts:
        if len(prompt) + wanted > card.max_model_len:
            raise ContextLengthExceeded(card.max_model_len, len(prompt), wanted, field)


def json_response(value: object) -> Response:
    """A 200 with the value as JSON."""
    return Response(msgspec.json.encode(value), media_type="application/json")
