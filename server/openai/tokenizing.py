"""`/tokenize`, `/detokenize` and `/tokenizer_info`: the model's tokenizer for whoever has none.

The shapes are vLLM's, which evaluation tools probe for. Knows nothing of generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import Field

from engine import ChatPrompt, InvalidParameter, ModelCard, TextPrompt, TokenPrompt
from server.body import read_json
from server.errors import MissingParameter
from server.openai.chat_schema import Messages, Tools
from server.openai.endpoint import json_response
from server.openai.nested_fields import MESSAGES, TOOLS, Known
from server.openai.tokens import token_text
from server.openai.wire import Body, Integer, parse
from server.state import AppState


class TokenizeRequest(Body):
    """A text, or a conversation for the chat template."""

    nested: ClassVar[Mapping[str, Known]] = {"messages": MESSAGES, "tools": TOOLS}

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    tools: Tools = ()
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    return_token_strs: bool = False


class DetokenizeRequest(Body):
    """Token ids."""

    model: str | None = None
    tokens: list[Integer]


async def create_tokens(state: AppState, request: Request) -> Response:
    """`POST /tokenize`. Raises as `parse`, `ModelNotFound`, and for two prompts at once."""
    fields = parse(TokenizeRequest, await read_json(request), state.unknown_fields)
    card = _card(state, fields.model)
    ids = await state.encode(_prompt(fields))
    body: dict[str, object] = {
        "count": len(ids),
        "max_model_len": card.max_model_len,
        "tokens": ids,
        "token_strs": None,
    }
    if fields.return_token_strs:
        engine = state.engine
        body["token_strs"] = [token_text(engine, each, partial_prefix="bytes:") for each in ids]
    return json_response(body)


async def create_text(state: AppState, request: Request) -> Response:
    """`POST /detokenize`. Raises as `parse`, and `InvalidParameter` for ids of no token."""
    fields = parse(DetokenizeRequest, await read_json(request), state.unknown_fields)
    _card(state, fields.model)
    ids = state.engine.encode(TokenPrompt(tuple(fields.tokens))) if fields.tokens else ()
    return json_response({"prompt": state.engine.decode(ids)})


async def get_tokenizer_info(state: AppState, request: Request) -> Response:
    """`GET /tokenizer_info`."""
    card = _card(state, None)
    return json_response(
        {
            "bos_token": card.bos_token,
            "eos_token": card.eos_token,
            "pad_token": None,
            "chat_template": card.chat_template,
            "vocab_size": card.vocab_size,
            "max_model_len": card.max_model_len,
        }
    )


def _card(state: AppState, model: str | None) -> ModelCard:
    return state.card(state.settings.model_names[0] if model is None else model)


def _prompt(fields: TokenizeRequest) -> TextPrompt | ChatPrompt:
    if fields.messages is None:
        if fields.prompt is None:
            raise MissingParameter("prompt")
        return TextPrompt(fields.prompt, fields.add_special_tokens is not False)
    if fields.prompt is not None:
        raise InvalidParameter("prompt", None, "it cannot be set together with 'messages'.")
    template_args = dict(fields.chat_template_kwargs)
    if fields.tools:
        template_args["tools"] = [tool.for_template() for tool in fields.tools]
    return ChatPrompt(
        fields.messages,
        add_generation_prompt=fields.add_generation_prompt and not fields.continue_final_message,
        continue_final=fields.continue_final_message,
        add_special_tokens=bool(fields.add_special_tokens),
        template_args=template_args,
    )
