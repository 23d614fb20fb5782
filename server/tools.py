"""The tools of a request, and what its answer may do with them, the same in every dialect.

Knows nothing of how a request names them or of how a model writes a call.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec


def no_arguments() -> dict[str, object]:
    """The schema of a function without parameters."""
    return {"type": "object", "properties": {}}


def text_argument() -> dict[str, object]:
    """The schema of a custom tool: one text."""
    text = {"type": "string"}
    return {"type": "object", "properties": {"input": text}, "required": ["input"]}


def custom_input(arguments: str) -> str:
    """The text that a custom tool is called with; what is no such object, as it is."""
    try:
        return msgspec.json.decode(arguments, type=_Input).input
    except msgspec.DecodeError:
        return arguments


class _Input(msgspec.Struct):
    input: str


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `schema` is a JSON schema of its arguments.

    `strict`: what of the schema cannot be enforced is refused, rather than passed over.
    `field` is where in its request the schema stands, for errors.
    """

    name: str
    description: str = ""
    schema: dict[str, object] = msgspec.field(default_factory=no_arguments)
    strict: bool = False
    custom: bool = False  # takes a text, which stands as `input` in its arguments
    field: str = "tools"

    def for_template(self) -> dict[str, object]:
        """The tool as chat templates expect it."""
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": function}


class ToolUse(msgspec.Struct, frozen=True):
    """The tools that the model is shown, and those of them that it may call.

    `required`: the answer is at least one call. Without `parallel` it has at most one. A single
    tool that must be called was `named` by the caller.
    """

    shown: tuple[Tool, ...] = ()
    callable: tuple[Tool, ...] = ()
    required: bool = False
    parallel: bool = True
    named: bool = False

    @property
    def field(self) -> str:
        """Where in the request the schemas of the callable tools stand."""
        return self.callable[0].field if len(self.callable) == 1 else "tools"

    @property
    def names(self) -> set[str]:
        """Of the tools that may be called."""
        return {tool.name for tool in self.callable}

    def is_custom(self, name: str) -> bool:
        """Whether the tool of this name takes a text."""
        return any(tool.custom for tool in self.callable if tool.name == name)


def all_of(tools: tuple[Tool, ...], *, required: bool = False, parallel: bool = True) -> ToolUse:
    """Any of the tools may be called."""
    return ToolUse(tools, tools, required=required, parallel=parallel)


def some_of(
    tools: tuple[Tool, ...],
    names: Collection[str],
    *,
    required: bool,
    parallel: bool = True,
    named: bool = False,
) -> ToolUse:
    """Only the tools of these names may be called; the model is shown all."""
    allowed = tuple(tool for tool in tools if tool.name in names)
    return ToolUse(tools, allowed, required=required, parallel=parallel, named=named)
