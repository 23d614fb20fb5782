"""One request for a response, understood: its conversation, its generation, its object.

Knows how a response object is written. Starts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from engine import ChatPrompt, Engine, ModelCard
from server.answer_plan import AnswerPlan, plan_answer
from server.errors import UnknownPreviousResponse, naming_grammar
from server.generation import Generation
from server.openai.chat_schema import reasoning_args
from server.openai.endpoint import check_context
from server.openai.responses.conversation import Message, messages_of
from server.openai.responses.input_items import Item, new_id, resolved
from server.openai.responses.output import Output
from server.openai.responses.request import ResponseRequest
from server.openai.responses.store import ResponseStore
from server.openai.sampling import sampling_params
from server.openai.tokens import ChatLogprobs
from server.state import AppState
from server.tools import ToolUse


@dataclass(frozen=True)
class ResponseJob:
    """The request. `context` are all items up to its own input, which is `input`; `fields_by_line`
    says where in it the lines of its grammar come from."""

    engine: Engine
    fields: ResponseRequest
    base: dict[str, Any]
    input: tuple[Item, ...]
    context: tuple[Item, ...]
    plan: AnswerPlan
    generation: Generation
    fields_by_line: dict[int, str]

    def output(self) -> Output:
        """An empty answer."""
        count = self.fields.logprob_count
        logprobs = None if count is None else ChatLogprobs(self.engine, count)
        return Output(self.plan.use, logprobs)

    def object(
        self,
        status: str,
        output: Sequence[Item] = (),
        *,
        usage: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The response as it stands."""
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        done = int(time.time()) if status == "completed" else None
        return self.base | {
            "status": status,
            "completed_at": done,
            "error": error,
            "incomplete_details": cut,
            "output": list(output),
            "usage": usage,
        }


async def prepare(
    state: AppState, store: ResponseStore, fields: ResponseRequest, body: dict[str, Any]
) -> ResponseJob:
    """The job of a request.

    Raises:
        UnknownPreviousResponse: it goes on from a response that is not kept.
        EngineError: the request cannot be carried out as it is.
    """
    card, use = state.card(fields.model), fields.tool_use()
    items, context = await gather_items(store, fields)
    prompt = await encode(state, card, fields, use, context)
    check_context([prompt], fields.max_output_tokens, card, "input")
    plan = plan_answer(state.engine, card, use, prompt)
    params = sampling_params(
        fields,
        card,
        max_new_tokens=fields.max_output_tokens,
        logprobs=fields.logprob_count,
        prompt_logprobs=None,
    )
    if fields.text.grammar is not None:
        params = msgspec.structs.replace(params, grammar=fields.text.grammar)
    with naming_grammar(fields.grammar_or_tools_field):
        params = plan.bind(params)
    response_id = new_id("resp")
    generation = state.generation([prompt], params, request_id=response_id, dialect="openai")
    base = _base(response_id, fields, body)
    lines = plan.fields_by_line(params, fields.words_field)
    return ResponseJob(state.engine, fields, base, items, context, plan, generation, lines)


async def gather_items(
    store: ResponseStore, fields: ResponseRequest
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The request's own items, and all from the conversation's beginning. Raises as `prepare`."""
    earlier: tuple[Item, ...] = ()
    if fields.previous_response_id is not None:
        previous = await store.get(fields.previous_response_id)
        if previous is None:
            raise UnknownPreviousResponse(fields.previous_response_id)
        earlier = previous.context
    known = {item["id"]: item for item in earlier}
    for item in fields.input:
        if item["type"] == "item_reference" and item["id"] not in known:
            found = await store.item(item["id"])
            if found is not None:
                known[item["id"]] = found
    items = resolved(fields.input, known.get)
    return items, (*earlier, *items)


async def encode(
    state: AppState,
    card: ModelCard,
    fields: ResponseRequest,
    use: ToolUse,
    context: Sequence[Item],
) -> tuple[int, ...]:
    """The prompt's ids; with `truncation` auto, without the oldest messages that do not fit."""
    messages = messages_of(fields.instructions, context)
    prompt = await state.encode(_chat_prompt(fields, use, messages))
    room = card.max_model_len - (fields.max_output_tokens or 1)
    if fields.truncation == "disabled" or len(prompt) <= room:
        return prompt
    kept = 1 if fields.instructions else 0
    low, high = 1, len(messages) - kept - 1  # messages to leave out; the last one always stays
    while low < high:
        middle = (low + high) // 2
        shorter = messages[:kept] + messages[kept + middle :]
        fits = len(await state.encode(_chat_prompt(fields, use, shorter))) <= room
        low, high = (low, middle) if fits else (middle + 1, high)
    return await state.encode(_chat_prompt(fields, use, messages[:kept] + messages[kept + low :]))


def _chat_prompt(
    fields: ResponseRequest, use: ToolUse, messages: tuple[Message, ...]
) -> ChatPrompt:
    args = {**reasoning_args(fields.effort), **fields.chat_template_kwargs}
    if use.shown:
        args["tools"] = [tool.for_template() for tool in use.shown]
    return ChatPrompt(messages, template_args=args)


def _base(response_id: str, fields: ResponseRequest, body: dict[str, Any]) -> dict[str, Any]:
    """What is the same in every state of the response."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "background": False,
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "metadata": fields.metadata,
        "model": fields.model,
        "parallel_tool_calls": fields.parallel_tool_calls,
        "previous_response_id": fields.previous_response_id,
        "reasoning": {"effort": fields.effort, "summary": None},
        "service_tier": "default",
        "store": fields.store,
        "temperature": fields.temperature,
        "text": fields.text.given,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_with_nulls(tool) for tool in fields.tools.given],
        "top_logprobs": fields.top_logprobs or 0,
        "top_p": fields.top_p,
        "truncation": fields.truncation,
        "user": body.get("user"),
    }


def _with_nulls(tool: dict[str, Any]) -> dict[str, Any]:
    """Functions always say of both that they are not given."""
    if tool.get("type", "function") != "function":
        return tool
    return {"type": "function", "parameters": None, "strict": None, **tool}
