"""`POST /v1/chat/completions`: a conversation in, the assistant's next message out.

Knows how a message is written; how it is generated is the engine's business.
"""

from __future__ import annotations

from functools import partial

from fastapi import Request
from fastapi.responses import Response

from server.body import read_json
from server.generation import Sample
from server.openai.chat_job import ChatJob, finish_of, parsed_text
from server.openai.chat_schema import ChatRequest, check_chat
from server.openai.chat_stream import frames
from server.openai.endpoint import check_context, new_head, reply
from server.openai.sampling import NAMES, sampling_params
from server.openai.tokens import ChatLogprobs, prompt_logprobs_object
from server.openai.tools import call_object, check_model_calls
from server.openai.usage import usage_object
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
        frames=partial(frames, job),
        names={**CHAT_NAMES, "grammar": fields.grammar_field},
    )


def _prepare(state: AppState, fields: ChatRequest) -> ChatJob:
    card = state.card(fields.model)
    if fields.calls_tools:
        check_model_calls(card)
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
    return ChatJob(state.engine, fields, head, prompt, generation)


def _answer(job: ChatJob, samples: list[Sample]) -> dict[str, object]:
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


def _choice(job: ChatJob, sample: Sample) -> dict[str, object]:
    parsed = parsed_text(job.fields, sample.text)
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if parsed.calls and not parsed.text else parsed.text,
        "refusal": None,
        "annotations": [],
    }
    if parsed.calls:
        message["tool_calls"] = [call_object(call) for call in parsed.calls]
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
        "finish_reason": finish_of(sample.finish_reason, called=bool(parsed.calls)),
        "stop_reason": sample.stop_reason,
    }
    if job.fields.return_token_ids:
        choice["token_ids"] = [token.token_id for token in sample.tokens]
    return choice
