"""From `contents` and `systemInstruction` to the chat the model's template renders.

Knows what a turn and a part may hold, and refuses by name what this server cannot give a model.
Knows nothing of tokens or of sampling.
"""

from __future__ import annotations

from engine import ChatPrompt, InvalidRequest, UnsupportedParameter
from server.gemini import thinking
from server.gemini.schema import (
    PART_DATA_FIELDS,
    Content,
    ExecutableCode,
    FunctionCall,
    FunctionResponse,
    GenerateContentRequest,
    Part,
)
from server.gemini.turns import Turns
from server.tools import ToolUse

_TEMPLATE_ROLES = {"": "user", "user": "user", "model": "assistant"}
_TOOL_ROLES = ("function", "tool")  # what a tool said comes from outside the model: a user turn


def chat_prompt(request: GenerateContentRequest, use: ToolUse) -> ChatPrompt:
    """The conversation as messages of `system`, `user`, `assistant` and `tool`, ready to be
    answered by a model that is shown the tools of `use`.

    Earlier reasoning (`thought` parts) and server-side tool traces are left out.

    Raises:
        InvalidRequest: no contents, a bad role, an empty turn or part, or a kind of part that
            this server cannot render; its `parameter` is the field's path.
    """
    if not request.contents:
        raise InvalidRequest(
            "* GenerateContentRequest.contents: contents is not specified", "contents"
        )
    turns = Turns()
    for index, content in enumerate(request.contents):
        _add(turns, content, f"contents[{index}]")
    messages = turns.messages()
    if not messages:
        raise InvalidRequest(
            "* GenerateContentRequest.contents: nothing in them is text for the model", "contents"
        )
    system = _system_text(request.system_instruction)
    if system:
        messages.insert(0, {"role": "system", "content": system})
    args = thinking.template_args(request.generation_config.thinking_config)
    if use.shown:
        args["tools"] = [tool.for_template() for tool in use.shown]
    return ChatPrompt(tuple(messages), template_args=args)


def _add(turns: Turns, content: Content, place: str) -> None:
    role = _role(content, place)
    if not content.parts:
        raise InvalidRequest(
            f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty.",
            f"{place}.parts",
        )
    for position, part in enumerate(content.parts):
        where = f"{place}.parts[{position}]"
        _check_one_field(part, where)
        _check_name(part, where)
        if part.function_call is not None:
            turns.add_call(part.function_call)
        elif part.function_response is not None:
            turns.add_response(part.function_response)
        else:
            text = _part_text(part, where)
            if text is not None:
                turns.add_text(role, text)


def _role(content: Content, place: str) -> str:
    if content.role in _TOOL_ROLES:
        return "user"
    role = _TEMPLATE_ROLES.get(content.role)
    if role is None:
        raise InvalidRequest("Please use a valid role: user, model.", f"{place}.role")
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


def _check_one_field(part: Part, place: str) -> None:
    present = [name for name in PART_DATA_FIELDS if getattr(part, name) is not None]
    if len(present) != 1:
        problem = "must have one initialized field" if not present else "may have only one field"
        raise InvalidRequest(
            f"* GenerateContentRequest.{place}.data: required oneof field 'data' {problem}", place
        )


def _check_name(part: Part, place: str) -> None:
    for field in ("function_call", "function_response"):
        function: FunctionCall | FunctionResponse | None = getattr(part, field)
        if function is not None and not function.name:
            path = f"{place}.{field}.name"
            raise InvalidRequest(f"* GenerateContentRequest.{path}: Name cannot be empty.", path)


def _part_text(part: Part, place: str) -> str | None:
    """What the model sees of a part; None when it is left out."""
    if part.file_data is not None:
        reason = "is not supported: this server fetches no files."
        raise UnsupportedParameter(f"{place}.file_data", reason)
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
