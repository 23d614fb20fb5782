"""The chat format: how a conversation becomes text and tokens.

Knows the turn markers, the Jinja template served to clients, and which tokens are the
assistant's own. Template and `conversation_tokens` must give the same ids; a test holds them to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from engine.default_model.training.corpus import Document, Messages
from engine.default_model.training.tokens import BOS, TURN_END, TURN_START

TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- set role = 'system' if message['role'] == 'developer' else message['role'] %}
    {%- if message['content'] is string %}
        {%- set content = message['content'] %}
    {%- else %}
        {%- set parts = namespace(text='') %}
        {%- for part in message['content'] or [] %}
            {%- if part is string %}
                {%- set parts.text = parts.text + part %}
            {%- elif part['text'] is defined %}
                {%- set parts.text = parts.text + part['text'] %}
            {%- endif %}
        {%- endfor %}
        {%- set content = parts.text %}
    {%- endif %}
    {{- '<|im_start|>' + role + '\\n' + content + '<|im_end|>\\n' }}
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


def conversation_text(messages: Messages, ask: bool = False) -> str:
    """The conversation as the template renders it; `ask` opens the assistant's turn."""
    turns = [f"{TURN_START}{m['role']}\n{m['content']}{TURN_END}\n" for m in messages]
    return BOS + "".join(turns) + (f"{TURN_START}assistant\n" if ask else "")


def conversation_tokens(tokenizer: Tokenizer, messages: Messages) -> Tokens:
    """Ids of a whole conversation, with the assistant's words and turn ends marked."""
    start, end = tokenizer.token_to_id(TURN_START), tokenizer.token_to_id(TURN_END)
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    ids, own = [tokenizer.token_to_id(BOS)], [False]
    for message in messages:
        header = tokenizer.encode(f"{message['role']}\n", add_special_tokens=False).ids
        text = f"{message['role']}\n{message['content']}"
        turn = [start, *tokenizer.encode(text, add_special_tokens=False).ids, end, *newline]
        first = 1 + len(header) if message["role"] == "assistant" else len(turn)
        ids += turn
        own += [first <= i < len(turn) - len(newline) for i in range(len(turn))]
    return Tokens(np.array(ids, np.uint16), np.array(own, bool))


def document_tokens(tokenizer: Tokenizer, document: Document) -> Tokens:
    """Ids of any document, beginning with the separator; nothing in plain text is marked."""
    if not isinstance(document, str):
        return conversation_tokens(tokenizer, document)
    ids = np.array(tokenizer.encode(document).ids, np.uint16)
    return Tokens(ids, np.zeros(len(ids), bool))
