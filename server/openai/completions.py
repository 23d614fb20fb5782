"""`POST /v1/completions`: prompts in, choices out, whole or streamed.

Knows how a choice is written; how it is generated is the engine's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property, partial

import msgspec
from fastapi import Request
from fastapi.responses import Response

from engine import Engine, OutputToken, SamplingParams, TextDelta, TokenLogprob
from server.body import read_json
from server.generation import Generation, Sample
from server.openai.completions_schema import CompletionRequest, check_completion, prompts_of
from server.openai.endpoint import check_context, new_head, reply
from server.openai.frames import DONE, Chunks, line
from server.openai.sampling import NAMES, sampling_params
from server.openai.tokens import (
    LegacyLogprobs,
    join_arrays,
    new_arrays,
    prompt_logprobs_object,
    prompt_text,
)
from server.openai.usage import choice_usage, usage_object
from server.openai.wire import parse
from server.state import AppState


async def create_completion(state: AppState, request: Request) -> Response:
    """Answer one request.

    Raises:
        EngineError: anything that goes wrong before the first result.
        ClientGone: the client left.
    """
    body = await read_json(request)
    fields = parse(CompletionRequest, body, state.unknown_fields)
    check_completion(fields, body)
    job = await _prepare(state, fields)
    return await reply(
        state,
        request,
        job.generation,
        stream=fields.stream,
        answer=partial(_answer, job),
        frames=partial(_frames, job),
        names={**NAMES, "grammar": fields.grammar_field},
    )


@dataclass(frozen=True)
class _Job:
    """One request, understood: its fields, its prompts as ids, its generation."""

    engine: Engine
    fields: CompletionRequest
    head: dict[str, object]
    prompts: list[tuple[int, ...]]
    generation: Generation

    @cached_property
    def prompt_texts(self) -> list[str]:
        skip = self.fields.skip_special_tokens
        return [prompt_text(self.engine, ids, skip_special=skip) for ids in self.prompts]


async def _prepare(state: AppState, fields: CompletionRequest) -> _Job:
    card = state.card(fields.model)
    forms = prompts_of(fields.prompt, add_special_tokens=fields.add_special_tokens)
    encoded = [await state.encode(form) for form in forms]
    prompts = [fields.truncated(prompt, fields.new_tokens, card) for prompt in encoded]
    check_context(prompts, fields.new_tokens, card)
    ranked = fields.candidates > fields.n
    params: SamplingParams = sampling_params(
        fields,
        card,
        max_new_tokens=fields.new_tokens,
        logprobs=0 if fields.logprobs is None and ranked else fields.logprobs,
        prompt_logprobs=_prompt_logprobs(fields),
    )
    head = new_head("text_completion", "cmpl", fields.model, card)
    generation = state.generation(
        prompts,
        params,
        n=fields.candidates,
        want_tokens=fields.return_token_ids,
        request_id=str(head["id"]),
        dialect="openai",
    )
    return _Job(state.engine, fields, head, prompts, generation)


def _prompt_logprobs(fields: CompletionRequest) -> int | None:
    """Alternatives per prompt token: for the echoed prompt, the extension, or both."""
    echoed = fields.logprobs if fields.echo else None
    wanted = [count for count in (echoed, fields.prompt_logprobs) if count is not None]
    return max(wanted, default=None)


# --- whole answers ------------------------------------------------------------------------------


def _answer(job: _Job, samples: list[Sample]) -> dict[str, object]:
    choices: list[dict[str, object]] = []
    for start in range(0, len(samples), job.fields.candidates):
        candidates = samples[start : start + job.fields.candidates]
        for sample in _best(candidates, job.fields.n):
            choices.append(_choice(job, sample, index=len(choices)))
    usage = usage_object(job.generation.usage, chat=False)
    return job.head | {"choices": choices, "usage": usage}


def _best(candidates: list[Sample], n: int) -> list[Sample]:
    """The `n` samples with the highest mean log-probability per token, best first."""
    if len(candidates) == n:
        return candidates
    return sorted(candidates, key=_mean_logprob, reverse=True)[:n]


def _mean_logprob(sample: Sample) -> float:
    values = [token.logprob.logprob for token in sample.tokens if token.logprob is not None]
    return sum(values) / len(values) if values else float("-inf")


def _choice(job: _Job, sample: Sample, *, index: int) -> dict[str, object]:
    fields = job.fields
    text = job.prompt_texts[sample.prompt_index] + sample.text if fields.echo else sample.text
    choice: dict[str, object] = {
        "index": index,
        "text": text,
        "logprobs": None,
        "finish_reason": sample.finish_reason.value,
        "stop_reason": sample.stop_reason,
    }
    prompt = job.prompts[sample.prompt_index]
    if fields.logprobs is not None:
        writer = _LogprobWriter(job, sample.prompt_index)
        choice["logprobs"] = writer.write(sample.tokens, sample.prompt_logprobs)
    if fields.prompt_logprobs is not None:
        choice["prompt_logprobs"] = prompt_logprobs_object(
            job.engine, prompt, sample.prompt_logprobs or (), fields.prompt_logprobs
        )
    if fields.return_token_ids:
        choice["token_ids"] = [token.token_id for token in sample.tokens]
        choice["prompt_token_ids"] = list(prompt)
    return choice


class _LogprobWriter:
    """The `logprobs` objects of one choice: the echoed prompt first, then what is generated."""

    def __init__(self, job: _Job, prompt_index: int) -> None:
        assert job.fields.logprobs is not None
        offset = len(job.prompt_texts[prompt_index])
        as_ids = job.fields.return_tokens_as_token_ids
        self._legacy = LegacyLogprobs(job.engine, job.fields.logprobs, offset, as_ids=as_ids)
        self._skip_special = job.fields.skip_special_tokens
        self._unsaid = job.prompts[prompt_index] if job.fields.echo else ()

    def write(
        self,
        tokens: list[OutputToken] | tuple[OutputToken, ...],
        prompt_logprobs: tuple[TokenLogprob | None, ...] | None,
    ) -> dict[str, list[object]]:
        prompt, self._unsaid = self._unsaid, ()
        arrays = new_arrays()
        if prompt:
            arrays = self._legacy.of_prompt(prompt, prompt_logprobs or (), self._skip_special)
        return join_arrays(arrays, self._legacy.of_output(tokens))


# --- streams ------------------------------------------------------------------------------------


async def _frames(job: _Job) -> AsyncIterator[bytes]:
    fields = job.fields
    chunks = Chunks(job.head, null_usage=fields.include_usage)
    writers = [_ChoiceWriter(job, index) for index in range(job.generation.num_samples)]
    continuous = fields.continuous_usage
    async for index, delta in job.generation:
        choice = writers[index].write(delta)
        if choice is None:
            continue
        usage = None
        if continuous:
            usage = usage_object(choice_usage(job.generation, index), chat=False)
        yield chunks.chunk(choice, usage)
    usage = usage_object(job.generation.usage, chat=False)
    yield chunks.usage(usage) + DONE if fields.include_usage else DONE


_GOES_ON = b',"logprobs":null,"finish_reason":null}'


class _ChoiceWriter:
    """Writes the choice object of each chunk of one choice."""

    def __init__(self, job: _Job, index: int) -> None:
        fields = job.fields
        self._prompt_index = index // fields.n
        self._open = b'{"index":%d,"text":' % index
        self._echo = job.prompt_texts[self._prompt_index] if fields.echo else ""
        self._logprobs = None
        if fields.logprobs is not None:
            self._logprobs = _LogprobWriter(job, self._prompt_index)
        self._token_ids = fields.return_token_ids
        self._prompt_ids = job.prompts[self._prompt_index]
        self._first = True
        self._plain = self._logprobs is None and not self._token_ids

    def write(self, delta: TextDelta) -> bytes | None:
        """The choice, or None when the delta has nothing to say yet."""
        if self._plain and not self._first and delta.finish_reason is None:  # most of them
            return b"%b%b%b" % (self._open, line(delta.text), _GOES_ON) if delta.text else None
        return self._write(delta)

    def _write(self, delta: TextDelta) -> bytes | None:
        first = self._first
        text = self._echo + delta.text if first else delta.text
        finish = delta.finish_reason
        detailed = self._token_ids or self._logprobs is not None
        if not (text or finish or (detailed and (delta.tokens or delta.prompt_logprobs))):
            return None
        self._first = False
        parts = [self._open, line(text), b',"logprobs":']
        if self._logprobs is None:
            parts.append(b"null")
        else:
            parts.append(line(self._logprobs.write(delta.tokens, delta.prompt_logprobs)))
        parts.append(b',"finish_reason":')
        if finish is None:
            parts.append(b"null")
        else:
            parts += [b'"%b","stop_reason":' % finish.encode(), line(delta.stop_reason)]
        if self._token_ids:
            parts += [b',"token_ids":', msgspec.json.encode([t.token_id for t in delta.tokens])]
            if first:
                parts += [b',"prompt_token_ids":', msgspec.json.encode(self._prompt_ids)]
        parts.append(b"}")
        return b"".join(parts)
