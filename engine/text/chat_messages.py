"""Messages as a caller has them to messages as one template wants them.

Knows roles and the two shapes of content, a string and a list of text parts. Does not know Jinja.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from engine.errors import InvalidParameter
from engine.text.harmony_messages import for_harmony

Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class MessageShape:
    """What a template takes."""

    strings: bool = True  # content may be a string
    parts: bool = False  # content may be a list of parts
    developer: bool = False  # it knows the role `developer`
    short_ids: bool = False  # ids of tool calls must be nine letters or digits
    harmony: bool = False  # see `engine.text.harmony_messages`


def shaped(messages: Sequence[Message], shape: MessageShape) -> list[Message]:
    """Fresh messages in the wanted shape; the caller's are left alone.

    Raises:
        InvalidParameter: a content is neither text, nor text parts, nor None; or the template
            would lose a message.
    """
    result = [_shaped(message, shape) for message in messages]
    return for_harmony(result) if shape.harmony else result


def with_text_appended(message: Message, text: str) -> tuple[Message, str]:
    """The message with `text` at the end of its last text, and that last text as it was.

    Raises:
        InvalidParameter: the message has no text.
    """
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": content + text}, content
    if isinstance(content, list) and content:
        parts = cast("list[Any]", content)
        last = _part_text(parts[-1])
        tail = {"type": "text", "text": last + text}
        return {**message, "content": [*parts[:-1], tail]}, last
    raise InvalidParameter("messages", message, "the final message has no text to continue.")


def _shaped(message: Message, shape: MessageShape) -> Message:
    result = dict(message)
    if result.get("role") == "developer" and not shape.developer:
        result["role"] = "system"
    if result.get("content") is not None:
        result["content"] = _content(result["content"], shape)
    return _with_short_ids(result) if shape.short_ids else result


def _with_short_ids(message: Message) -> Message:
    calls = cast("list[Message]", message.get("tool_calls") or [])
    if calls:
        message["tool_calls"] = [{**call, "id": _short_id(call.get("id"))} for call in calls]
    if "tool_call_id" in message:
        message["tool_call_id"] = _short_id(message["tool_call_id"])
    return message


def _short_id(value: object) -> str:
    """An id of nine letters or digits for any id, always the same one."""
    text = str(value)
    if len(text) == 9 and text.isascii() and text.isalnum():
        return text
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()[:9]


def _content(content: object, shape: MessageShape) -> object:
    if isinstance(content, str):
        return content if shape.strings else [{"type": "text", "text": content}]
    if not isinstance(content, (list, tuple)):
        raise InvalidParameter("messages", content, "content must be a string or a list of parts.")
    texts = [_part_text(part) for part in cast("Sequence[Any]", content)]
    if shape.parts:
        return [{"type": "text", "text": text} for text in texts]
    return "".join(texts)


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    fields = cast("dict[str, object]", part if isinstance(part, dict) else {})
    text = fields.get("text")
    if isinstance(text, str):
        return text
    raise InvalidParameter("messages", fields, "only text parts are supported in content.")
