"""`POST /v1/chat/completions`: a conversation in, the assistant's next message out.

Knows how messages and deltas are written; how they are generated is the engine's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import msgspec
from fastapi import Request
from fastapi.responses import Response

from engine import Engine, TextDelta
from server.body import read_json
from server.generation import Generation, Sample
from server.openai.chat_schema import ChatRequest, check_chat
from server.openai.endpoint import check_context, new_head, reply
from server.openai.frames import DONE, Chunks, line
from server.openai.sampling import NAMES, sampling_params
from server.openai.tokens import ChatLogprobs, prompt_logprobs_object
from server.openai.usage import choice_usage, usage_object
from server.openai.wire import parse
from server.state import AppState

CHAT_NAMES = {**NAMES, "prompt": "messages"}


async def create_chat_completion(state: AppState, request: Request) -> Response:
    """Answer one request.

    Raises:
        EngineError: anything that goes wrong before the first result.
        ClientGone: the client left.
    """
    body = await read_json(request)
    fields = parse(ChatRequest, body, state.unknown_fields)
    check_chat(fields, body)
    job = _prepare(state, fields)
    return await reply(
        state,
        request,
        job.generation,
        stream=fields.stream,
        answer=partial(_answer, job),
        frames=partial(_frames, job),
        names=CHAT_NAMES,
    )


@dataclass(frozen=True)
class _Job:
    """One request, understood: its fields, its prompt as ids, its generation."""

    engine: Engine
    fields: ChatRequest
    head: dict[str, object]
    prompt: tuple[int, ...]
    generation: Generation


def _prepare(state: AppState, fields: ChatRequest) -> _Job:
    card = state.card(fields.model)
    prompt = state.engine.encode(fields.prompt())
    check_context([prompt], fields.new_tokens, card)
    params = sampling_params(
        fields,
        card,
        max_new_tokens=fields.new_tokens,
        logprobs=fields.logprob_count,
        prompt_logprobs=fields.prompt_logprobs,
    )
    kind = "chat.completion.chunk" if fields.stream else "chat.completion"
    head = new_head(kind, "chatcmpl", fields.model, card)
    generation = state.generation(
        [prompt], params, n=fields.n, request_id=str(head["id"]), dialect="openai"
    )
    return _Job(state.engine, fields, head, prompt, generation)


# --- whole answers ------------------------------------------------------------------------------


def _answer(job: _Job, samples: list[Sample]) -> dict[str, object]:
    answer = job.head | {
        "service_tier": "default",
        "choices": [_choice(job, sample) for sample in samples],
        "usage": usage_object(job.generation.usage, chat=True),
    }
    wanted = job.fields.prompt_logprobs
    if wanted is not None:
        logprobs = samples[0].prompt_logprobs or ()
        answer["prompt_logprobs"] = prompt_logprobs_object(job.engine, job.prompt, logprobs, wanted)
    if job.fields.return_token_ids:
        answer["prompt_token_ids"] = list(job.prompt)
    return answer


def _choice(job: _Job, sample: Sample) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": sample.text,
        "refusal": None,
        "annotations": [],
    }
    logprobs = None
    count = job.fields.logprob_count
    if count is not None:
        cut = isinstance(sample.stop_reason, str)
        as_ids = job.fields.return_tokens_as_token_ids
        writer = ChatLogprobs(job.engine, count, as_ids=as_ids)
        logprobs = writer.of_delta(sample.tokens, sample.text, cut=cut)
    choice: dict[str, object] = {
        "index": sample.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": sample.finish_reason.value,
        "stop_reason": sample.stop_reason,
    }
    if job.fields.return_token_ids:
        choice["token_ids"] = [token.token_id for token in sample.tokens]
    return choice


# --- streams ------------------------------------------------------------------------------------


async def _frames(job: _Job) -> AsyncIterator[bytes]:
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


def _running_usage(job: _Job, index: int) -> dict[str, object] | None:
    if not job.fields.continuous_usage:
        return None
    return usage_object(choice_usage(job.generation, index), chat=True)


class _ChoiceWriter:
    """Writes the choice object of each chunk of one choice."""

    def __init__(self, job: _Job, index: int) -> None:
        self._open = b'{"index":%d,"delta":' % index
        self._logprobs = None
        if job.fields.logprob_count is not None:
            self._logprobs = ChatLogprobs(
                job.engine,
                job.fields.logprob_count,
                as_ids=job.fields.return_tokens_as_token_ids,
            )
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
        detailed = self._token_ids or self._logprobs is not None
        if delta.text or (detailed and delta.tokens):
            choices.append(self._content(delta))
        if delta.finish_reason is not None:
            finish = delta.finish_reason.encode()
            last = b'{},"logprobs":null,"finish_reason":"%b","stop_reason":%b}'
            choices.append(self._open + last % (finish, line(delta.stop_reason)))
        return choices

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
