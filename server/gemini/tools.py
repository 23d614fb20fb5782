"""`tools` and `toolConfig` to the tools that the model may call.

    AUTO (or absent)   any declared function, or words
    VALIDATED          the same, of the allowed functions
    ANY                at least one call, of the allowed functions
    NONE               words only

Arguments always follow the declared schema. Knows nothing of how a model writes a call.
"""

from __future__ import annotations

import re

from engine import InvalidRequest, UnsupportedParameter
from server.gemini.json_schema import json_schema_of
from server.gemini.schema import (
    CallingMode,
    FunctionCallingConfig,
    FunctionDeclaration,
    GenerateContentRequest,
)
from server.tools import Tool, ToolUse, all_of, some_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_CONFIG = "tool_config.function_calling_config"


def tool_use_of(request: GenerateContentRequest) -> ToolUse:
    """What the answer may do with the tools.

    Raises:
        UnsupportedParameter: a tool of Google's own.
        InvalidRequest: a declaration or a mode that makes no sense.
    """
    tools = _declared(request)
    config = request.tool_config and request.tool_config.function_calling_config
    config = config or FunctionCallingConfig()
    mode = config.mode
    if mode is CallingMode.ANY and not tools:
        raise InvalidRequest(
            f"'{_CONFIG}.mode': ANY needs function declarations.", f"{_CONFIG}.mode"
        )
    if mode is CallingMode.NONE or not tools:
        return ToolUse()
    required = mode is CallingMode.ANY
    if not config.allowed_function_names or mode not in (CallingMode.ANY, CallingMode.VALIDATED):
        return all_of(tools, required=required)
    _check_allowed(config.allowed_function_names, tools)
    return some_of(tools, config.allowed_function_names, required=required)


def _declared(request: GenerateContentRequest) -> tuple[Tool, ...]:
    tools: dict[str, Tool] = {}
    for index, entry in enumerate(request.tools):
        for name in entry.__struct_fields__:
            if name != "function_declarations" and getattr(entry, name) is not None:
                raise UnsupportedParameter(f"tools[{index}].{name}", "is not supported.")
        for position, declaration in enumerate(entry.function_declarations):
            path = f"tools[{index}].function_declarations[{position}]"
            tool = _tool(declaration, path)
            if tool.name in tools:
                raise _invalid(f"{path}.name", f"there are two functions named '{tool.name}'.")
            tools[tool.name] = tool
    return tuple(tools.values())


def _tool(declaration: FunctionDeclaration, path: str) -> Tool:
    if not _NAME.fullmatch(declaration.name):
        reason = (
            "expected a letter or '_', and up to 127 more letters, digits, '_', '-', '.' or ':'."
        )
        raise _invalid(f"{path}.name", reason)
    given = [
        name
        for name in ("parameters", "parameters_json_schema")
        if getattr(declaration, name) is not None
    ]
    if len(given) > 1:
        raise _invalid(f"{path}.{given[1]}", f"it cannot be set together with {given[0]}.")
    if not given:
        return Tool(declaration.name, declaration.description)
    field = f"{path}.{given[0]}"
    schema = json_schema_of(getattr(declaration, given[0]), field)
    return Tool(declaration.name, declaration.description, schema, field=field)


def _check_allowed(names: tuple[str, ...], tools: tuple[Tool, ...]) -> None:
    declared = {tool.name for tool in tools}
    for name in names:
        if name not in declared:
            path = f"{_CONFIG}.allowed_function_names"
            raise _invalid(path, f"there is no function named '{name}'.")


def _invalid(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value at '{path}': {reason}", path)
