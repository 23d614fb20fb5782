"""Marks in a model's text that are control tokens of its vocabulary, or just text.

Knows nothing of what any of them means.
"""

from __future__ import annotations

from engine import Engine, TextPrompt


def mark_id(engine: Engine, mark: str) -> int | None:
    """The id of the mark, if it is a control token."""
    ids = engine.encode(TextPrompt(mark, add_special_tokens=False))
    return ids[0] if len(ids) == 1 and engine.is_special(ids[0]) else None
