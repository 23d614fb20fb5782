"""From `contents` and `systemInstruction` to the chat the model's template renders.

Knows what a turn and a part may hold, and refuses by name what this server cannot give a model.
Knows nothing of tokens or of sampling.
"""

from __future__ import annotations

from engine import ChatPrompt, InvalidRequest, UnsupportedParameter
from server.gemini.schema import (
    PART_DATA_FIELDS,
    Content,
    ExecutableCode,
    GenerateContentRequest,
    Part,
)

_TEMPLATE_ROLES = {"": "user", "user": "user", "model": "assistant"}
_TOOL_ROLES = ("function", "tool")  # what a tool said comes from outside the model: a user turn
_JOINTS = {"user": "\n", "assistant": ""}
"""Chat clients return a streamed answer as one model turn per chunk: nothing goes between those."""

_UNSUPPORTED_PARTS = {
    "file_data": "is not supported: this server fetches no files.",
    "function_call": "is not supported: this server does not call functions.",
    "function_response": "is not supported: this server does not call functions.",
}


def chat_prompt(request: GenerateContentRequest) -> ChatPrompt:
    """The conversation as `system`, `user` and `assistant` messages, ready to be answered.

    Neighbouring turns of one role become one message, since many templates need alternation.
    Earlier reasoning (`thought` parts) and server-side tool traces are left out.

    Raises:
        InvalidRequest: no contents, a bad role, an empty turn or part, or a kind of part that
            this server cannot render; its `parameter` is the field's path.
    """
    if not request.contents:
        raise InvalidRequest(
            "* GenerateContentRequest.contents: contents is not specified", "contents"
        )
    turns = _turns(request.contents)
    if not turns:
        raise InvalidRequest(
            "* GenerateContentRequest.contents: nothing in them is text for the model", "contents"
        )
    messages: list[dict[str, object]] = []
    system = _system_text(request.system_instruction)
    if system:
        messages.append({"role": "system", "content": system})
    messages.extend(
        {"role": role, "content": _JOINTS[role].join(text for text in texts if text)}
        for role, texts in turns
    )
    return ChatPrompt(tuple(messages))


def _turns(contents: tuple[Content, ...]) -> list[tuple[str, list[str]]]:
    turns: list[tuple[str, list[str]]] = []
    for index, content in enumerate(contents):
        role = _role(content, index)
        texts = _texts(content, f"contents[{index}]")
        if not texts:
            continue  # only reasoning or tool traces
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(texts)
        else:
            turns.append((role, texts))
    return turns


def _role(content: Content, index: int) -> str:
    if content.role in _TOOL_ROLES:
        return "user"
    role = _TEMPLATE_ROLES.get(content.role)
    if role is None:
        raise InvalidRequest("Please use a valid role: user, model.", f"contents[{index}].role")
    return role


def _system_text(instruction: Content | str | None) -> str:
    if instruction is None or isinstance(instruction, str):
        return instruction or ""
    texts: list[str] = []
    for index, part in enumerate(instruction.parts):
        if part.text is None:
            place = f"system_instruction.parts[{index}]"
            raise InvalidRequest(f"'{place}': a system instruction may hold only text.", place)
        texts.append(part.text)
    return "\n".join(texts)


def _texts(content: Content, place: str) -> list[str]:
    if not content.parts:
        raise InvalidRequest(
            f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty.",
            f"{place}.parts",
        )
    texts = (
        _part_text(part, f"{place}.parts[{index}]") for index, part in enumerate(content.parts)
    )
    return [text for text in texts if text is not None]


def _part_text(part: Part, place: str) -> str | None:
    """What the model sees of a part; None when it is left out."""
    present = [name for name in PART_DATA_FIELDS if getattr(part, name) is not None]
    if len(present) != 1:
        problem = "must have one initialized field" if not present else "may have only one field"
        raise InvalidRequest(
            f"* GenerateContentRequest.{place}.data: required oneof field 'data' {problem}", place
        )
    name = present[0]
    if name in _UNSUPPORTED_PARTS:
        raise UnsupportedParameter(f"{place}.{name}", _UNSUPPORTED_PARTS[name])
    if part.thought:
        return None
    if part.inline_data is not None:
        return _inline_text(part.inline_data.mime_type, part.inline_data.data, place)
    if part.executable_code is not None:
        return _code_block(part.executable_code)
    if part.code_execution_result is not None:
        return part.code_execution_result.output
    return part.text


def _inline_text(mime_type: str, data: bytes, place: str) -> str:
    if not mime_type.lower().startswith("text/"):
        raise UnsupportedParameter(
            f"{place}.inline_data", f"of type '{mime_type}' is not supported: only text/* is."
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"'{place}.inline_data.data' is not UTF-8 text.", f"{place}.inline_data.data"
        ) from None


def _code_block(code: ExecutableCode) -> str:
    return f"```\n{code.code}\n```\n"
