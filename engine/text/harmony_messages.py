"""Messages, and how much to reason, as the chat template of gpt-oss wants them.

It shows one call of a message and takes a function's answer to be that of the call shown last; it
shows instructions at the beginning only; and it knows reasoning as `thinking`, which it refuses
beside content where there are calls. Knows nothing of Jinja.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast

from engine.errors import InvalidParameter

Message = dict[str, object]
_INSTRUCTIONS = ("system", "developer")
_NEAREST = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
"""Of the efforts that the model was trained with: low, medium, high."""


def effort_for_harmony(arguments: Mapping[str, object]) -> dict[str, object]:
    """The template's variables, with an effort that the model knows if any is asked for. It cannot
    leave out its reasoning."""
    least = "low" if arguments.get("enable_thinking") is False else None
    effort = arguments.get("reasoning_effort", least)
    if effort is None:
        return dict(arguments)
    return {**arguments, "reasoning_effort": _NEAREST.get(str(effort), effort)}


def for_harmony(messages: Sequence[Message]) -> list[Message]:
    """Fresh messages.

    Raises:
        InvalidParameter: instructions after the conversation has begun, which would be lost.
    """
    count = 0
    while count < len(messages) and messages[count].get("role") in _INSTRUCTIONS:
        count += 1
    for message in messages[count:]:
        if message.get("role") in _INSTRUCTIONS:
            reason = "instructions after the first messages are not known to this model."
            raise InvalidParameter("messages", message, reason)
    return [*_joined(messages[:count]), *_one_call_each(messages[count:])]


def _joined(instructions: Sequence[Message]) -> list[Message]:
    texts = [str(message["content"]) for message in instructions if message.get("content")]
    return [{"role": "developer", "content": "\n\n".join(texts)}] if texts else []


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """Of several calls in one message each has a message of its own, and behind it what it gave."""
    result: list[Message] = []
    rest = deque(messages)
    while rest:
        message = rest.popleft()
        calls = cast("list[Message]", message.get("tool_calls") or [])
        if len(calls) < 2:
            result.append(_spoken(message))
            continue
        answers: list[Message] = []
        while rest and rest[0].get("role") == "tool":
            answers.append(rest.popleft())
        said = message
        for call in calls:
            result.append(_spoken({**said, "tool_calls": [call]}))
            result += _take(answers, call.get("id"))
            said = {"role": "assistant"}
        result += answers
    return result


def _take(answers: list[Message], call_id: object) -> list[Message]:
    """The first answer to the call, taken out of the others."""
    for place, answer in enumerate(answers):
        if answer.get("tool_call_id") == call_id:
            return [answers.pop(place)]
    return []


def _spoken(message: Message) -> Message:
    """With reasoning by its name, and without what is null or empty."""
    result = {key: value for key, value in message.items() if value not in (None, [])}
    thinking = result.pop("reasoning_content", None)
    if result.get("tool_calls") and result.get("content"):
        return result  # the template takes one of the two, and shows it as reasoning
    if thinking:
        result["thinking"] = thinking
    return result
