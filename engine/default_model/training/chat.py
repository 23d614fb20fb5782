"""The chat format: how a conversation becomes text and tokens.

Knows the turn markers, how tools and calls are written, the Jinja template served to clients, and
which tokens are the assistant's own. Template and `conversation_tokens` must give the same ids; a
test holds them to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from engine.default_model.training.conversation import Conversation, Document, Message, Tool
from engine.default_model.training.tokens import BOS, TURN_END, TURN_START

TEMPLATE = """\
{%- macro words(content) %}
    {%- if content is string %}
        {{- content }}
    {%- else %}
        {%- for part in content or [] %}
            {{- part if part is string else part['text'] | default('') }}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{{- bos_token }}
{%- set first = messages[0] if messages else {} %}
{%- set asked = words(first['content']) if first['role'] in ('system', 'developer') else none %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {{- asked + '\\n\\n' if asked else '' }}
    {{- 'Tools:' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool['function'] if tool['function'] is defined else tool) | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in (messages[1:] if tools and asked is not none else messages) %}
    {%- set role = 'system' if message['role'] == 'developer' else message['role'] %}
    {%- set spoken = words(message['content']) %}
    {{- '<|im_start|>' + role + '\\n' + spoken }}
    {%- for call in message['tool_calls'] or [] %}
        {%- set function = call['function'] if call['function'] is defined else call %}
        {%- set arguments = function['arguments'] %}
        {{- '\\n' if spoken or not loop.first else '' }}
        {{- '<tool_call>\\n{"name": ' + function['name'] | tojson + ', "arguments": ' }}
        {{- arguments if arguments is string else arguments | tojson }}
        {{- '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


@dataclass(frozen=True)
class Tokens:
    """Token ids of one document, and for each whether it is the assistant's to produce."""

    ids: np.ndarray
    own: np.ndarray


@dataclass(frozen=True)
class Turn:
    """One turn as the model sees it."""

    role: str
    body: str


def turns(conversation: Conversation) -> list[Turn]:
    """The turns as the template writes them; tools stand at the end of the system turn."""
    written = [Turn(message["role"], _body(message)) for message in conversation.messages]
    if not conversation.tools:
        return written
    asked = written.pop(0).body if written and written[0].role == "system" else ""
    return [Turn("system", f"{asked}\n\n" * bool(asked) + _listing(conversation.tools)), *written]


def _listing(tools: Sequence[Tool]) -> str:
    lines = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    return "\n".join(["Tools:", *lines])


def _body(message: Message) -> str:
    functions = [call["function"] for call in message.get("tool_calls", ())]
    written = [json.dumps(function, ensure_ascii=False) for function in functions]
    blocks = [f"<tool_call>\n{call}\n</tool_call>" for call in written]
    return "\n".join([*([message["content"]] if message["content"] else []), *blocks])


def plain_text(document: Document) -> str:
    """The words of a document without any turn markers, for training the tokenizer."""
    if isinstance(document, str):
        return document
    return "\n".join(turn.body for turn in turns(document))


def conversation_text(conversation: Conversation, ask: bool = False) -> str:
    """The conversation as the template renders it; `ask` opens the assistant's turn."""
    written = [f"{TURN_START}{t.role}\n{t.body}{TURN_END}\n" for t in turns(conversation)]
    return BOS + "".join(written) + (f"{TURN_START}assistant\n" if ask else "")


def conversation_tokens(tokenizer: Tokenizer, conversation: Conversation) -> Tokens:
    """Ids of a whole conversation, with the assistant's words and turn ends marked."""
    start, end = tokenizer.token_to_id(TURN_START), tokenizer.token_to_id(TURN_END)
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    ids, own = [tokenizer.token_to_id(BOS)], [False]
    for turn in turns(conversation):
        header = tokenizer.encode(f"{turn.role}\n", add_special_tokens=False).ids
        text = f"{turn.role}\n{turn.body}"
        written = [start, *tokenizer.encode(text, add_special_tokens=False).ids, end, *newline]
        first = 1 + len(header) if turn.role == "assistant" else len(written)
        ids += written
        own += [first <= i < len(written) - len(newline) for i in range(len(written))]
    return Tokens(np.array(ids, np.uint16), np.array(own, bool))


def document_tokens(tokenizer: Tokenizer, document: Document) -> Tokens:
    """Ids of any document, beginning with the separator; nothing in plain text is marked."""
    if isinstance(document, Conversation):
        return conversation_tokens(tokenizer, document)
    ids = np.array(tokenizer.encode(document).ids, np.uint16)
    return Tokens(ids, np.zeros(len(ids), bool))
