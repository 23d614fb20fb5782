"""The stream of a chat answer: chunks with deltas.

Knows the choice object of a chunk; how deltas are generated is the engine's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from engine import TextDelta
from server.openai.chat_job import ChatJob, finish_of, parser_for
from server.openai.frames import DONE, Chunks, line
from server.openai.tokens import ChatLogprobs
from server.openai.tools import call_deltas
from server.openai.usage import choice_usage, usage_object
from server.tool_calls import Parsed


async def frames(job: ChatJob) -> AsyncIterator[bytes]:
    """Role chunks for all choices in order, with the first result; then whatever arrives."""
    fields, generation = job.fields, job.generation
    chunks = Chunks(job.head, null_usage=fields.include_usage)
    writers = [_ChoiceWriter(job, index) for index in range(fields.n)]
    unsent = [(index, writer.role()) for index, writer in enumerate(writers)]
    async for index, delta in generation:
        choices = unsent + [(index, choice) for choice in writers[index].write(delta)]
        unsent = []
        if choices:
            frames = (chunks.chunk(choice, _running_usage(job, i)) for i, choice in choices)
            yield b"".join(frames)
    if fields.include_usage:
        yield chunks.usage(usage_object(generation.usage, chat=True))
    yield DONE


def _running_usage(job: ChatJob, index: int) -> dict[str, object] | None:
    if not job.fields.continuous_usage:
        return None
    return usage_object(choice_usage(job.generation, index), chat=True)


class _ChoiceWriter:
    """Writes the choice object of each chunk of one choice."""

    def __init__(self, job: ChatJob, index: int) -> None:
        self._open = b'{"index":%d,"delta":' % index
        self._logprobs = None
        if job.fields.logprob_count is not None:
            self._logprobs = ChatLogprobs(
                job.engine,
                job.fields.logprob_count,
                as_ids=job.fields.return_tokens_as_token_ids,
            )
        self._parser = parser_for(job.fields)
        self._num_calls = 0
        self._token_ids = job.fields.return_token_ids
        self._prompt = job.prompt

    def role(self) -> bytes:
        """The first chunk of every choice."""
        parts = [self._open, b'{"role":"assistant","content":""},"logprobs":null']
        parts.append(b',"finish_reason":null')
        if self._token_ids:
            parts += [b',"prompt_token_ids":', msgspec.json.encode(self._prompt)]
        parts.append(b"}")
        return b"".join(parts)

    def write(self, delta: TextDelta) -> list[bytes]:
        """The chunks of one delta: its text, and the empty delta that ends the choice."""
        choices: list[bytes] = []
        parsed = self._parse(delta)
        delta = msgspec.structs.replace(delta, text=parsed.text)
        detailed = self._token_ids or self._logprobs is not None
        if delta.text or (detailed and delta.tokens):
            choices.append(self._content(delta))
        for call in parsed.calls:
            choices += [self._delta(part) for part in call_deltas(call, self._num_calls)]
            self._num_calls += 1
        if delta.finish_reason is not None:
            finish = finish_of(delta.finish_reason, called=self._num_calls > 0).encode()
            last = b'{},"logprobs":null,"finish_reason":"%b","stop_reason":%b}'
            choices.append(self._open + last % (finish, line(delta.stop_reason)))
        return choices

    def _parse(self, delta: TextDelta) -> Parsed:
        if self._parser is None:
            return Parsed(delta.text)
        return self._parser.read(delta.text, last=delta.finish_reason is not None)

    def _delta(self, value: dict[str, object]) -> bytes:
        return self._open + line(value) + b',"logprobs":null,"finish_reason":null}'

    def _content(self, delta: TextDelta) -> bytes:
        parts = [self._open, b'{"content":', line(delta.text), b'},"logprobs":']
        if self._logprobs is None:
            parts.append(b"null")
        else:
            cut = isinstance(delta.stop_reason, str)
            parts.append(line(self._logprobs.of_delta(delta.tokens, delta.text, cut=cut)))
        parts.append(b',"finish_reason":null')
        if self._token_ids:
            token_ids = [token.token_id for token in delta.tokens]
            parts += [b',"token_ids":', msgspec.json.encode(token_ids)]
        parts.append(b"}")
        return b"".join(parts)
