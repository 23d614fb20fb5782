"""`POST /v1/chat/completions`: a conversation in, the assistant's next message out.

Knows how a message is written; how it is generated is the engine's business.
"""

from __future__ import annotations

from functools import partial

from fastapi import Request
from fastapi.responses import Response

from server.answer import Answer, Words, collect
from server.answer_plan import plan_answer
from server.body import read_json
from server.errors import naming_grammar
from server.generation import Sample
from server.openai.chat_job import ChatJob, count_tokens
from server.openai.chat_schema import ChatRequest, check_chat
from server.openai.chat_stream import frames
from server.openai.endpoint import check_context, new_head, reply
from server.openai.sampling import NAMES, sampling_params
from server.openai.tokens import ChatLogprobs, prompt_logprobs_object
from server.openai.tools import call_object
from server.openai.usage import usage_object
from server.openai.wire import parse
from server.openai.word_tokens import WordTokens
from server.state import AppState
from server.tools import ToolUse

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
    job = await _prepare(state, fields)
    return await reply(
        state,
        request,
        job.generation,
        stream=fields.stream,
        answer=partial(_answer, job),
        frames=partial(frames, job),
        names={**CHAT_NAMES, "grammar": grammar_field(fields, job.plan.use)},
        fields_by_line=job.fields_by_line,
    )


def grammar_field(fields: ChatRequest, use: ToolUse) -> str:
    """The field that says what the text must be."""
    if use.callable and not fields.has_grammar:
        return use.field
    return fields.grammar_field


async def _prepare(state: AppState, fields: ChatRequest) -> ChatJob:
    card, use = state.card(fields.model), fields.tool_use()
    prompt = await state.encode(fields.prompt(use))
    prompt = fields.truncated(prompt, fields.new_tokens, card)
    check_context([prompt], fields.new_tokens, card)
    plan = plan_answer(state.engine, card, use, prompt)
    params = sampling_params(
        fields,
        card,
        max_new_tokens=fields.new_tokens,
        logprobs=fields.logprob_count,
        prompt_logprobs=fields.prompt_logprobs,
    )
    with naming_grammar(grammar_field(fields, use)):
        params = plan.bind(params)
    kind = "chat.completion.chunk" if fields.stream else "chat.completion"
    head = new_head(kind, "chatcmpl", fields.model, card)
    generation = state.generation(
        [prompt],
        params,
        n=fields.n,
        want_tokens=fields.return_token_ids,
        request_id=str(head["id"]),
        dialect="openai",
    )
    lines = plan.fields_by_line(params, fields.grammar_field)
    return ChatJob(state.engine, fields, head, prompt, plan, generation, lines)


def _answer(job: ChatJob, samples: list[Sample]) -> dict[str, object]:
    events = [list(job.plan.reader().feed(sample.text, last=True)) for sample in samples]
    answers = [collect(each) for each in events]
    reasoned = sum(count_tokens(job.engine, answer.reasoning) for answer in answers)
    parts = zip(samples, events, answers, strict=True)
    body = job.head | {
        "service_tier": "default",
        "choices": [
            _choice(job, sample, answer, [event for event in each if isinstance(event, Words)])
            for sample, each, answer in parts
        ],
        "usage": usage_object(job.generation.usage, chat=True, reasoning_tokens=reasoned),
    }
    wanted = job.fields.prompt_logprobs
    if wanted is not None:
        logprobs = samples[0].prompt_logprobs or ()
        body["prompt_logprobs"] = prompt_logprobs_object(job.engine, job.prompt, logprobs, wanted)
    if job.fields.return_token_ids:
        body["prompt_token_ids"] = list(job.prompt)
    return body


def _choice(job: ChatJob, sample: Sample, answer: Answer, words: list[Words]) -> dict[str, object]:
    choice: dict[str, object] = {
        "index": sample.index,
        "message": _message(job, answer),
        "logprobs": _logprobs(job, sample, answer, words),
        "finish_reason": job.finish(sample.finish_reason, called=bool(answer.calls)),
        "stop_reason": sample.stop_reason,
    }
    if job.fields.return_token_ids:
        choice["token_ids"] = [token.token_id for token in sample.tokens]
    return choice


def _message(job: ChatJob, answer: Answer) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if answer.calls and not answer.text else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.reasoning and job.fields.include_reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        use = job.plan.use
        message["tool_calls"] = [
            call_object(call, custom=use.is_custom(call.name)) for call in answer.calls
        ]
    return message


def _logprobs(
    job: ChatJob, sample: Sample, answer: Answer, words: list[Words]
) -> dict[str, object] | None:
    count = job.fields.logprob_count
    if count is None:
        return None
    writer = ChatLogprobs(job.engine, count, as_ids=job.fields.return_tokens_as_token_ids)
    cut = isinstance(sample.stop_reason, str)
    if job.plan.plain:
        return writer.of_delta(sample.tokens, sample.text, cut=cut)
    waiting = WordTokens()
    waiting.add(sample.tokens)
    tokens = [token for piece in words for token in waiting.of(piece)]
    return writer.of_delta(tokens, answer.text, cut=cut)
