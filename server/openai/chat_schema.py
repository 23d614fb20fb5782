"""The body of a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from engine import ChatPrompt, InvalidParameter
from server.openai.generation_fields import GenerationFields, check_generation
from server.openai.messages import ROLES, messages_of
from server.openai.nested_fields import MESSAGES, PARTS, TOOL_CHOICE, TOOLS, Known, names
from server.openai.sampling import IGNORED, REFUSED
from server.openai.tools import ToolChoice, tool_choice_of, tool_use_of, tools_of
from server.openai.wire import Inert, Integer, empty, never
from server.tools import Tool, ToolUse

Messages = Annotated[
    tuple[dict[str, object], ...],
    BeforeValidator(messages_of),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": list(ROLES)},
                    "content": {
                        "anyOf": [
                            {"type": "string"},
                            {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "required": ["type", "text"],
                                    "properties": {
                                        "type": {"const": "text"},
                                        "text": {"type": "string"},
                                    },
                                },
                            },
                        ]
                    },
                    "name": {"type": "string"},
                },
            },
        }
    ),
]


Tools = Annotated[
    tuple[Tool, ...],
    PlainValidator(tools_of),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "function"],
                "properties": {
                    "type": {"const": "function"},
                    "function": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "description": {"type": "string"},
                            "parameters": {"type": "object"},
                            "strict": {"type": "boolean"},
                        },
                    },
                },
            },
        }
    ),
]
Choice = Annotated[
    ToolChoice,
    PlainValidator(tool_choice_of),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "auto", "required"]},
                {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"enum": ["function", "allowed_tools"]}},
                },
            ]
        }
    ),
]


ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def _unlimited(value: object) -> object:
    """-1 is a habit from elsewhere and means no limit."""
    return None if value == -1 and not isinstance(value, bool) else value


class ChatRequest(GenerationFields):
    """`POST /v1/chat/completions`."""

    refused: ClassVar[Mapping[str, Inert]] = {
        **REFUSED,
        "functions": empty,
        "function_call": lambda value: value in ("none", "auto"),
        "modalities": lambda value: value in ([], ["text"]),
        "audio": never,
        "moderation": never,
        "web_search_options": never,
        "echo": empty,
        "chat_template": never,
        "documents": empty,
        "mm_processor_kwargs": empty,
        "thinking_token_budget": never,
        **dict.fromkeys(("input", "instructions", "suffix"), empty),
        "best_of": lambda value: value == 1,
    }
    ignored: ClassVar[frozenset[str]] = IGNORED | {
        "verbosity",
        "prediction",  # a hint for speed
    }
    nested: ClassVar[Mapping[str, Known]] = {
        **GenerationFields.nested,
        "messages": MESSAGES,
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "prediction": names("type", content=PARTS),
    }

    messages: Messages
    max_tokens: Annotated[
        Annotated[Integer, Field(ge=1, le=2**31 - 1)] | None, BeforeValidator(_unlimited)
    ] = None
    max_completion_tokens: Annotated[
        Annotated[Integer, Field(ge=1, le=2**31 - 1)] | None, BeforeValidator(_unlimited)
    ] = None
    logprobs: bool = False
    top_logprobs: Integer | None = Field(None, ge=0, le=20)
    tools: Tools = ()
    tool_choice: Choice = Field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    reasoning_effort: ReasoningEffort | None = None
    include_reasoning: bool = True

    @property
    def new_tokens(self) -> int | None:
        """How many tokens to generate at most; None is the rest of the context."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens

    @property
    def logprob_count(self) -> int | None:
        """Alternatives per token, or None without log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def tool_use(self) -> ToolUse:
        """What the answer may do with the tools. Raises as `tool_use_of`."""
        return tool_use_of(self.tools, self.tool_choice, parallel=self.parallel_tool_calls)

    def prompt(self, use: ToolUse) -> ChatPrompt:
        """The conversation for the chat template."""
        template_args = {**reasoning_args(self.reasoning_effort), **self.chat_template_kwargs}
        if use.shown:
            template_args["tools"] = [tool.for_template() for tool in use.shown]
        opens_turn = self.add_generation_prompt
        if opens_turn is None:
            opens_turn = not self.continue_final_message
        return ChatPrompt(
            self.messages,
            add_generation_prompt=opens_turn,
            continue_final=self.continue_final_message,
            add_special_tokens=self.add_special_tokens,
            template_args=template_args,
        )


def reasoning_args(effort: str | None) -> dict[str, object]:
    """The effort as chat templates know it: a switch in some, a word in others."""
    if effort is None:
        return {}
    return {"enable_thinking": effort != "none", "reasoning_effort": effort}


def check_chat(fields: ChatRequest, body: Mapping[str, Any]) -> None:
    """Refuse fields that contradict each other. Raises `InvalidParameter`."""
    check_generation(fields, body)
    if fields.top_logprobs and not fields.logprobs:
        reason = "it needs 'logprobs' to be true."
        raise InvalidParameter("top_logprobs", fields.top_logprobs, reason)
    if fields.add_generation_prompt and fields.continue_final_message:
        reason = "it cannot be true together with 'add_generation_prompt'."
        raise InvalidParameter("continue_final_message", True, reason)
