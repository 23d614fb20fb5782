"""From a running generation to a response, whole or as events.

Both go through the same items, and a response is kept before its caller learns that it is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, cast

from engine import EngineError, FinishReason, TextDelta
from server.errors import openai_error
from server.generation import Sample
from server.openai.chat_job import count_tokens
from server.openai.frames import line
from server.openai.responses.job import ResponseJob
from server.openai.responses.output import Output, Told
from server.openai.responses.store import ResponseStore, StoredResponse
from server.openai.word_tokens import WordTokens

NAMES = {
    "messages": "input",
    "max_new_tokens": "max_output_tokens",
    "include_stop": "include_stop_str_in_output",
}
"""Engine names that this endpoint spells differently."""


class Answering:
    """One response in the making."""

    def __init__(self, job: ResponseJob, store: ResponseStore) -> None:
        self._job = job
        self._store = store
        self._output: Output = job.output()
        self._reader = job.plan.reader()
        self._waiting = WordTokens()
        self._number = 0

    async def whole(self, sample: Sample) -> dict[str, Any]:
        """The response of a finished sample."""
        delta = TextDelta(
            text=sample.text,
            tokens=tuple(sample.tokens),
            finish_reason=sample.finish_reason,
            stop_reason=sample.stop_reason,
        )
        self._take(delta)
        return await self._finish(sample.finish_reason)

    async def frames(self) -> AsyncIterator[bytes]:
        """The response's events, while its generation runs."""
        begun = self._job.object("in_progress")
        told = [("response.created", {"response": begun})]
        told.append(("response.in_progress", {"response": begun}))
        reason = FinishReason.LENGTH
        async for _, delta in self._job.generation:
            reason = delta.finish_reason or reason
            told += self._take(delta)
            if told:
                yield self._frames(told)
            told = []
        response = await self._finish(reason)
        yield self._frames([(f"response.{response['status']}", {"response": response})])

    def error_frames(self, error: EngineError) -> Sequence[bytes]:
        """What ends a stream that has begun."""
        said = cast("dict[str, Any]", openai_error(error, NAMES).body["error"])
        failure = {"code": said["code"] or "server_error", "message": said["message"]}
        items = self._output.items
        response = self._job.object("failed", items, error=failure)
        return [self._frames([("response.failed", {"response": response})])]

    def keep_alive(self) -> bytes:
        """An event that says nothing: some clients count only events as signs of life."""
        return self._frames([("keepalive", {})])

    def _take(self, delta: TextDelta) -> list[Told]:
        last = delta.finish_reason is not None
        cut = isinstance(delta.stop_reason, str)
        self._waiting.add(delta.tokens)
        told: list[Told] = []
        for event in self._reader.feed(delta.text, last=last):
            told += self._output.add(event, self._waiting.of(event), cut=cut)
        if last:
            full = delta.finish_reason is FinishReason.STOP
            told += self._output.end("completed" if full else "incomplete")
        return told

    async def _finish(self, reason: FinishReason) -> dict[str, Any]:
        status = "completed" if reason is FinishReason.STOP else "incomplete"
        items = self._output.items
        response = self._job.object(status, items, usage=self._usage())
        if self._job.fields.store:
            context = (*self._job.context, *items)
            await self._store.put(StoredResponse(response, self._job.input, context))
        return response

    def _usage(self) -> dict[str, Any]:
        usage = self._job.generation.usage
        thoughts = "".join(
            part["text"]
            for item in self._output.items
            if item["type"] == "reasoning"
            for part in item["content"]
        )
        details = {"reasoning_tokens": count_tokens(self._job.engine, thoughts)}
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": 0,
            },
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": details,
            "total_tokens": usage.total_tokens,
        }

    def _frames(self, told: Iterable[Told]) -> bytes:
        return b"".join(self._frame(kind, fields) for kind, fields in told)

    def _frame(self, kind: str, fields: dict[str, Any]) -> bytes:
        data = line({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
