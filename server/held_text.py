"""Text that arrives in pieces, and how much of it is certainly not the beginning of a mark."""

from __future__ import annotations


def split_at(text: str, mark: str) -> tuple[str, str, str]:
    """What is before the mark, the mark, and what is after it.

    Without the mark: what cannot belong to it, nothing, and the end that may still become it.
    """
    before, found, after = text.partition(mark)
    if found:
        return before, found, after
    held = _partial(text, mark)
    return text[: len(text) - held], "", text[len(text) - held :]


def _partial(text: str, mark: str) -> int:
    """Length of the longest end of the text that begins the mark."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
