"""A grammar of what an answer in the Harmony format may be: see `server.harmony`.

    start: (note next)* last        notes are reasoning; words, too, where any may stand
    last: final | call              as the request asks for

Writes Lark in llguidance's dialect, with marks as tokens. Knows nothing of dialects.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine import Grammar
from server import harmony
from server.tool_grammar import answer_rule, arguments_schema, marked, quoted
from server.tools import Tool, ToolUse

_NOTES = """start: (note next)* last
next: start_mark "assistant"
note: channel kind message body
TEXT: /(.|\\n)*/
"""

_MARKS = {
    "start_mark": harmony.START,
    "channel": harmony.CHANNEL,
    "constrain": harmony.CONSTRAIN,
    "message": harmony.MESSAGE,
}
"""Rules, and what they are."""


def harmony_grammar(
    use: ToolUse, answer: Grammar | None, token_ids: Mapping[str, int]
) -> Grammar | None:
    """The grammar of an answer, or None where any text will do.

    `token_ids` are those of the marks that are tokens.

    Raises:
        UncombinableGrammar: `answer` is Lark of the caller's, whose rules may collide with ours.
    """
    if not use.callable and answer is None:
        return None
    final = "TEXT" if answer is None else "answer"
    free = answer is None and not use.required
    rules = [_NOTES, 'kind: "analysis"', ' | "commentary"\n' if free else "\n"]
    rules += [f'final: channel "final" message {final}\n']
    if answer is not None:
        rules.append(f"answer: {answer_rule(answer)}\n")
    rules += [f"call_{i}: {_call(tool)}\n" for i, tool in enumerate(use.callable)]
    calls = [f"call_{i}" for i in range(len(use.callable))]
    rules.append("last: " + " | ".join(calls if use.required else ["final", *calls]) + "\n")
    rules += [f"{name}: {marked(mark, token_ids.get(mark))}\n" for name, mark in _MARKS.items()]
    lazy = "" if harmony.END in token_ids else "[lazy]"  # else the text would take the mark in
    rules.append(f"body{lazy}: TEXT {marked(harmony.END, token_ids.get(harmony.END))}\n")
    return Grammar("lark", "".join(rules))


def _call(tool: Tool) -> str:
    """A message to the function: whom it is for may stand in either part of its header."""
    to = f"to={harmony.FUNCTIONS}{tool.name}"
    heads = f'channel {quoted("commentary " + to)} | {quoted(" " + to)} channel "commentary"'
    return f'({heads}) " "? constrain? "json" message %json {arguments_schema(tool)}'
