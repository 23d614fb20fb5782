"""Text that arrives in pieces, and how much of it is certainly not the beginning of a mark."""

from __future__ import annotations


def split_at(text: str, *marks: str) -> tuple[str, str, str]:
    """What is before the first of the marks, that mark, and what is after it.

    Without a mark: what cannot belong to one, nothing, and the end that may still become one.
    """
    found = [(place, mark) for mark in marks if (place := text.find(mark)) >= 0]
    if found:
        place, mark = min(found)
        return text[:place], mark, text[place + len(mark) :]
    held = max(_partial(text, mark) for mark in marks)
    return text[: len(text) - held], "", text[len(text) - held :]


def _partial(text: str, mark: str) -> int:
    """Length of the longest end of the text that begins the mark."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
