"""A grammar of what an answer with tools may be: calls of declared tools with legal arguments.

    required            start: call+
    left to the model   start: (text call)* text      text is free, and a mark begins a call
    with an answer      start: call+ | answer         no free text beside calls

Writes Lark in llguidance's dialect. Knows the formats of calls; nothing of dialects.
"""

from __future__ import annotations

import json
import re

import msgspec

from engine import Grammar
from server.closed_schema import closed
from server.tool_formats import ToolFormat
from server.tools import Tool, ToolUse

_TEXT = "TEXT: /(.|\\n)*/\n"
_DESCRIBES = {"additionalProperties", "patternProperties", "$ref", "anyOf", "allOf", "oneOf"}
"""Keywords that say what an object may hold, beside its properties."""
_SLASH = re.compile(r"(\\.)|/", re.DOTALL)
"""What ends an expression in Lark, unless it is escaped already."""


class UncombinableGrammar(Exception):
    """What the answer must be cannot stand beside calls."""


def calls_grammar(
    form: ToolFormat, use: ToolUse, answer: Grammar | None, marker_id: int | None
) -> Grammar | None:
    """The grammar of an answer, or None where any text will do.

    `marker_id` is the id of the opening mark where that is a control token.

    Raises:
        UncombinableGrammar: `answer` is Lark of the caller's, whose rules may collide with ours;
            or JSON where calls are bare JSON, too, and no mark tells one from the other.
    """
    if answer is not None and not form.opening and answer.kind.startswith("json"):
        raise UncombinableGrammar
    if not form.opening and not use.required and answer is None:
        return None  # any text may begin like a call
    parallel = use.parallel and form.parallel
    rules = [f"call_{i}: {_call(form, tool)}\n" for i, tool in enumerate(use.callable)]
    rules.append("call: " + " | ".join(f"call_{i}" for i in range(len(rules))) + "\n")
    mark = marked(form.opening, marker_id)
    rules += _marked(form, parallel)
    many = ' ("\\n" calls)*' if parallel and not form.is_list else ""
    if use.required:
        start = f"start: calls{many}\ncalls: {mark} body\n"
    elif answer is not None:
        start = f"start: calls{many} | answer\ncalls: {mark} body\nanswer: {answer_rule(answer)}\n"
    else:
        head = "TEXT " + mark if marker_id is not None else "trigger"
        start = "start: calls* TEXT\n" if parallel else "start: TEXT | calls\n"
        start += f"calls: {head} body\n{_TEXT}"
        if marker_id is None:
            start += f"trigger[lazy]: TEXT {mark}\n"
    return Grammar("lark", start + "".join(rules))


def fields_by_line(grammar: Grammar, use: ToolUse, answer_field: str) -> dict[int, str]:
    """Where in the request the lines of a grammar of calls come from, those that come from there;
    the first line is 1. `answer_field` is where the answer's own grammar stands."""
    heads = {f"call_{i}": tool.field for i, tool in enumerate(use.callable)}
    heads["answer"] = answer_field
    lines = enumerate(grammar.text.split("\n"), 1)
    return {i: heads[head] for i, line in lines if (head := line.partition(":")[0]) in heads}


def _marked(form: ToolFormat, parallel: bool) -> list[str]:
    """What follows the opening mark."""
    if form.is_list:
        more = ' (", " call)*' if parallel else ""
        return [f'body: " "? "[" call{more} "]"\n']
    if not form.closing:
        return ["body: call\n"]
    closing = quoted("\n" + form.closing)
    return [f'body: "\\n" call {closing}\n']


def _call(form: ToolFormat, tool: Tool) -> str:
    head = f'{{"name": {json.dumps(tool.name)}, "{form.arguments}": '
    return f'{quoted(head)} %json {arguments_schema(tool)} "}}"'


def arguments_schema(tool: Tool) -> str:
    """The schema of the arguments, which are an object; one without properties is empty."""
    schema = closed(tool.schema)
    schema.pop("x-guidance", None)
    schema["type"] = "object"
    if not schema.get("properties") and not _DESCRIBES & schema.keys():
        schema["additionalProperties"] = False
    if not tool.strict:
        schema["x-guidance"] = {"lenient": True}
    return _json(schema)


def answer_rule(grammar: Grammar) -> str:
    """What the answer's words must be, as the body of a rule. Raises as `calls_grammar`."""
    match grammar.kind:
        case "json_object":
            return '%json {"type": "object"}'
        case "json_schema":
            return f"%json {grammar.text}"
        case "choice":
            choices: list[str] = msgspec.json.decode(grammar.text)
            return " | ".join(map(quoted, choices))
        case "regex":
            escaped = _SLASH.sub(lambda found: found[1] or "\\/", grammar.text)
            return f"/{escaped}/"
        case _:
            raise UncombinableGrammar


def marked(mark: str, token_id: int | None) -> str:
    """The mark as Lark has it, by its id where it is a control token."""
    return quoted(mark) if token_id is None else f"<[{token_id}]>"


def quoted(text: str) -> str:
    """The text as Lark has it; nothing for none."""
    return json.dumps(text) if text else ""


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
