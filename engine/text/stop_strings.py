"""Finds stop strings in text that arrives in pieces.

Knows text only: not tokens, not prompts, not why else a sample may end.

The rule, whatever the pieces: of all occurrences of all stop strings in the text, the one that
starts first ends the sample; of several that start there, the longest. So a found stop string is
final only when no other can start earlier, or as early and be longer: with `ab` and `abc` the text
`ab` waits for one more character.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class _Node:
    """A prefix of some stop string (Aho and Corasick 1975).

    `fallback` is its longest proper suffix that is such a prefix too, None at the root; `match`
    is the longest stop string that this prefix ends with.
    """

    depth: int
    fallback: _Node | None = None
    match: str | None = None
    children: dict[str, _Node] = field(default_factory=lambda: {})


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    stop: str


class StopMatcher:
    """Lets text through until a stop string ends it.

    Only the longest suffix that may be the beginning of a stop string is held back. Every
    character is looked at once. `include_stop` keeps the stop string itself in the text.
    """

    def __init__(self, stops: Iterable[str], include_stop: bool = False) -> None:
        """`stops` are not empty strings; there may be none of them."""
        self._root = _automaton(tuple(stops))
        self._include_stop = include_stop
        self._node = self._root
        self._best: _Match | None = None
        self._held = ""
        self._released = 0  # characters given out, so the position of `_held`
        firsts = "".join(map(re.escape, self._root.children))
        self._first = re.compile(f"[{firsts}]") if firsts else None

    def push(self, text: str, armed: bool = True) -> tuple[str, str | None]:
        """The text that can be let go now, and the stop string once one has ended the sample.

        A stop string whose last character comes while not `armed` is ordinary text; one that
        has only begun by then counts. After a stop string was returned the matcher is done.
        """
        if self._first is None:
            return text, None
        begin = self._released + len(self._held)
        self._held += text
        index = 0
        while index < len(text):
            if self._node is self._root and self._best is None:
                first = self._first.search(text, index)
                if first is None:
                    break
                index = first.start()
            self._step(text[index], begin + index + 1, armed)
            index += 1
            if self._best and begin + index - self._node.depth > self._best.start:
                return self._stop(self._best)
        return self._release(begin + len(text) - self._node.depth), None

    def flush(self) -> tuple[str, str | None]:
        """No more text: what was held, or what precedes a stop string that was not final yet."""
        if self._best:
            return self._stop(self._best)
        self._node = self._root
        return self._release(self._released + len(self._held)), None

    def _step(self, character: str, end: int, armed: bool) -> None:
        """Read one character, which ends at position `end`."""
        node: _Node | None = self._node
        while node is not None and character not in node.children:
            node = node.fallback
        node = self._root if node is None else node.children[character]
        if armed and node.match is not None:
            start = end - len(node.match)
            # At equal starts the later, hence longer, one wins.
            if self._best is None or start <= self._best.start:
                self._best = _Match(start, node.match)
        while not node.children and node.fallback is not None:
            node = node.fallback  # nothing can follow a whole stop string but what follows these
        self._node = node

    def _stop(self, match: _Match) -> tuple[str, str]:
        end = match.start + len(match.stop) if self._include_stop else match.start
        text = self._release(end)
        self._held = ""
        return text, match.stop

    def _release(self, position: int) -> str:
        """Give out the held text up to `position`, which never lies beyond what is held."""
        count = position - self._released
        text, self._held = self._held[:count], self._held[count:]
        self._released = position
        return text


def _automaton(stops: tuple[str, ...]) -> _Node:
    root = _Node(0)
    for stop in stops:
        node = root
        for character in stop:
            node = node.children.setdefault(character, _Node(node.depth + 1))
        node.match = stop
    queue = deque([root])
    while queue:  # breadth first: a fallback is shallower, so it is complete before it is used
        node = queue.popleft()
        for character, child in node.children.items():
            child.fallback = _fallback(node, character, root)
            child.match = child.match or child.fallback.match
            queue.append(child)
    return root


def _fallback(parent: _Node, character: str, root: _Node) -> _Node:
    node = parent.fallback
    while node is not None and character not in node.children:
        node = node.fallback
    return root if node is None else node.children[character]
