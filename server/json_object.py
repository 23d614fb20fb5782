"""Where a JSON object ends. Knows nothing of what it says."""

from __future__ import annotations


class ObjectEnd:
    """Finds where a JSON object ends, in text that comes in pieces."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self._in_string = False
        self._escaped = False

    def find(self, text: str) -> int | None:
        """The place after the brace that closes the object, if that is in this piece."""
        for place, character in enumerate(text, start=1):
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self.depth += 1
            elif character in "}]":
                self.depth -= 1
                if self.depth == 0:
                    return place
        return None
