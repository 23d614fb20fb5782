"""The endpoints of Responses: create, count, read, list input, delete, cancel."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from engine import InvalidParameter, UnsupportedParameter
from server.body import read_json
from server.errors import PathNotFound, ResponseNotFound, naming_grammar
from server.openai.endpoint import json_response
from server.openai.responses.answering import Answering
from server.openai.responses.job import encode, gather_items, prepare
from server.openai.responses.request import ResponseRequest, check_response
from server.openai.responses.store import ResponseStore, StoredResponse
from server.openai.wire import parse
from server.sse import EventStream, run_until_disconnect
from server.state import AppState

MAX_PAGE, DEFAULT_PAGE = 100, 20


class Responses:
    """The endpoints over one store."""

    def __init__(self, state: AppState, store: ResponseStore) -> None:
        self._state = state
        self._store = store

    async def create(self, request: Request) -> Response:
        """`POST /v1/responses`."""
        fields, body = await self._read(request)
        job = await prepare(self._state, self._store, fields, body)
        answering, generation = Answering(job, self._store), job.generation
        with naming_grammar(fields.grammar_or_tools_field, job.fields_by_line):
            if not fields.stream:
                work = generation.collect()
                [sample] = await run_until_disconnect(request, work, generation.abort)
                return json_response(await answering.whole(sample))
            await run_until_disconnect(request, generation.start(), generation.abort)
        return EventStream(
            answering.frames(),
            abort=generation.abort,
            error_frames=answering.error_frames,
            keep_alive=answering.keep_alive,
            keep_alive_seconds=self._state.settings.keep_alive_seconds,
        )

    async def count(self, request: Request) -> Response:
        """`POST /v1/responses/input_tokens`."""
        fields, _ = await self._read(request)
        card = self._state.card(fields.model)
        _, context = await gather_items(self._store, fields)
        prompt = await encode(self._state, card, fields, fields.tool_use(), context)
        return json_response({"object": "response.input_tokens", "input_tokens": len(prompt)})

    async def get(self, request: Request) -> Response:
        """`GET /v1/responses/{id}`."""
        if request.query_params.get("stream", "").lower() in ("true", "1"):
            raise UnsupportedParameter("stream", "is not supported for a response that is kept.")
        return json_response((await self._found(request)).response)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/responses/{id}`."""
        response_id = request.path_params["response_id"]
        if not await self._store.delete(response_id):
            raise ResponseNotFound(response_id)
        return json_response({"id": response_id, "object": "response", "deleted": True})

    async def input_items(self, request: Request) -> Response:
        """`GET /v1/responses/{id}/input_items`."""
        query = request.query_params
        items = list((await self._found(request)).input)
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidParameter("order", order, "expected 'asc' or 'desc'.")
        if order == "desc":
            items.reverse()
        ids = [item["id"] for item in items]
        start = _start(ids, query.get("after"))
        page = items[start : start + _limit(query.get("limit"))]
        return json_response(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": start + len(page) < len(items),
            }
        )

    async def cancel(self, request: Request) -> Response:
        """`POST /v1/responses/{id}/cancel`: nothing runs in the background here."""
        await self._found(request)
        reason = "Only responses that run in the background can be cancelled."
        raise InvalidParameter("response_id", request.path_params["response_id"], reason)

    async def not_offered(self, request: Request) -> Response:
        """`POST /v1/responses/compact`: clients then shorten their history themselves."""
        raise PathNotFound(request.method, request.url.path)

    async def _read(self, request: Request) -> tuple[ResponseRequest, dict[str, Any]]:
        body = await read_json(request)
        fields = parse(ResponseRequest, body, self._state.unknown_fields)
        check_response(fields)
        for kind in fields.tools.dropped:
            self._state.unknown_fields.found(f"tools of type {kind}")
        return fields, body

    async def _found(self, request: Request) -> StoredResponse:
        response_id = request.path_params["response_id"]
        stored = await self._store.get(response_id)
        if stored is None:
            raise ResponseNotFound(response_id)
        return stored


def _start(ids: list[str], after: str | None) -> int:
    if after is None:
        return 0
    if after not in ids:
        raise InvalidParameter("after", after, "no item of the input has this id.")
    return ids.index(after) + 1


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_PAGE
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 5 else 0
    if not 1 <= number <= MAX_PAGE:
        raise InvalidParameter("limit", value, f"expected an integer from 1 to {MAX_PAGE}.")
    return number
