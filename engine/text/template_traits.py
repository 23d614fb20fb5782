"""What a chat template expects of message contents, read from its source.

Knows Jinja's syntax tree; renders nothing.
"""

from __future__ import annotations

import re

from jinja2 import nodes

_KEEPS_PARTS = frozenset({"list", "select", "selectattr", "reject", "rejectattr"})
"""Filters that leave a list of parts one."""

_LLAMA_CALL = re.compile(r'\{\\?"name\\?": .{0,40}\\?"parameters\\?": ', re.DOTALL)


def iterates_content(tree: nodes.Template) -> bool:
    """Whether the template loops over the parts of a message's content.

    A heuristic: some `for` runs over `<x>.content`, `<x>['content']`, or a name that is `content`
    or was set to one of these, possibly behind `or`, an inline `if` or a selecting filter.
    """
    aliases = {"content"}
    for assign in tree.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name) and _is_content(assign.node, aliases):
            aliases.add(assign.target.name)
    return any(_is_content(loop.iter, aliases) for loop in tree.find_all(nodes.For))


def tool_call_format(source: str) -> str | None:
    """How the template writes tool calls, or None when it has no tools or a way not known here.

    hermes    tags around JSON; not the tags around XML that some coding models have instead
    mistral   a control token before a JSON list; not its later form without a list
    llama3    the JSON of one call, with `parameters`, as the whole answer
    harmony   a message to the function, which is how such a model answers without tools, too
    """
    if is_harmony(source):
        return "harmony"
    if "tools" not in source:
        return None
    if "<tool_call>" in source:
        return None if "<function=" in source else "hermes"
    if "[TOOL_CALLS]" in source:
        return None if "[ARGS]" in source else "mistral"
    return "llama3" if _LLAMA_CALL.search(source) else None


def is_harmony(source: str) -> bool:
    """Whether messages have channels, as those of gpt-oss."""
    return "<|channel|>" in source and "<|message|>" in source


def knows_reasoning(source: str) -> bool:
    """Whether the template speaks of reasoning, between `<think>` and `</think>` or in a channel of
    its own."""
    return "</think>" in source or is_harmony(source)


def tests_for_string(tree: nodes.Template) -> bool:
    """Whether the template asks of anything if it `is string`: it then takes both kinds."""
    return any(test.name == "string" for test in tree.find_all(nodes.Test))


def _is_content(node: nodes.Node, aliases: set[str]) -> bool:
    match node:
        case nodes.Name(name=name):
            return name in aliases
        case nodes.Getattr(attr=attribute):
            return attribute == "content"
        case nodes.Getitem(arg=nodes.Const(value=key)):
            return key == "content"
        case nodes.Or(left=left, right=right):
            return _is_content(left, aliases) or _is_content(right, aliases)
        case nodes.Filter(node=nodes.Expr() as inner, name=name) if name in _KEEPS_PARTS:
            return _is_content(inner, aliases)
        case nodes.CondExpr(expr1=first, expr2=second):
            return _is_content(first, aliases) or (
                second is not None and _is_content(second, aliases)
            )
        case _:
            return False
