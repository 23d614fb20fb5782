"""The items of an answer as they grow, and the events that tell of it.

    item added -> deltas -> done, one item after the other: reasoning, words, calls

A whole answer is made of the same items; nobody reads its events. Knows the wire's shapes of items
and events, not how events are numbered or framed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from engine import OutputToken
from server.answer import CallArguments, CallOpened, Event, Reasoning, Words
from server.openai.responses.input_items import Item, new_id
from server.openai.tokens import ChatLogprobs
from server.openai.tools import new_call_id
from server.tools import ToolUse, custom_input

Told = tuple[str, dict[str, Any]]
"""An event: its type, and its fields."""


class Output:
    """Collects the items of one answer. `items` are those that have ended."""

    def __init__(self, use: ToolUse, logprobs: ChatLogprobs | None) -> None:
        self.items: list[Item] = []
        self._use = use
        self._logprobs = logprobs
        self._open: _OpenItem | None = None

    def add(self, event: Event, tokens: Sequence[OutputToken], *, cut: bool = False) -> list[Told]:
        """Take what the model said next; `tokens` are those of words.

        `cut`: a stop string ended the sample with these words.
        """
        match event:
            case Reasoning(text):
                told = self._go_to(_OpenReasoning)
                return [*told, *self._delta(text)]
            case Words(text):
                told = self._go_to(_OpenMessage)
                logprobs = self._entries(tokens, text, cut)
                return [*told, *self._delta(text, logprobs)]
            case CallOpened(name):
                kind = _OpenCustomCall if self._use.is_custom(name) else _OpenCall
                return [*self.end("completed"), *self._begin(kind(len(self.items), name))]
            case CallArguments(text):
                return self._delta(text)
            case _:
                return self.end("completed")

    def end(self, status: str) -> list[Told]:
        """The open item is over."""
        if self._open is None:
            return []
        item, self._open = self._open, None
        told = item.close(status)
        self.items.append(item.item)
        done = {"output_index": item.index, "item": item.item}
        return [*told, ("response.output_item.done", done)]

    def _go_to(self, kind: type[_OpenReasoning] | type[_OpenMessage]) -> list[Told]:
        if isinstance(self._open, kind):
            return []
        return [*self.end("completed"), *self._begin(kind(len(self.items)))]

    def _begin(self, item: _OpenItem) -> list[Told]:
        self._open = item
        return item.open()

    def _delta(self, text: str, logprobs: Sequence[Item] = ()) -> list[Told]:
        assert self._open is not None
        return self._open.delta(text, logprobs)

    def _entries(self, tokens: Sequence[OutputToken], text: str, cut: bool) -> list[Item]:
        if self._logprobs is None:
            return []
        entries: Any = self._logprobs.of_delta(tokens, text, cut=cut)["content"]
        return [{**entry, "bytes": entry["bytes"] or []} for entry in entries]


class _OpenItem(Protocol):
    """One item that grows."""

    index: int
    item: Item

    def open(self) -> list[Told]: ...

    def delta(self, text: str, logprobs: Sequence[Item]) -> list[Told]: ...

    def close(self, status: str) -> list[Told]: ...


class _TextItem:
    """What items with one part of text have in common."""

    part_kind: str
    text_event: str

    def __init__(self, index: int, item: Item) -> None:
        self.index = index
        self.item = item
        self._texts: list[str] = []
        self._logprobs: list[Item] = []
        self._place = {"item_id": item["id"], "output_index": index, "content_index": 0}

    def open(self) -> list[Told]:
        part = self._part("", [])
        return [
            ("response.output_item.added", {"output_index": self.index, "item": dict(self.item)}),
            ("response.content_part.added", {**self._place, "part": part}),
        ]

    def delta(self, text: str, logprobs: Sequence[Item]) -> list[Told]:
        self._texts.append(text)
        self._logprobs += logprobs
        return [
            (f"{self.text_event}.delta", {**self._place, "delta": text, **self._with(logprobs)})
        ]

    def close(self, status: str) -> list[Told]:
        text = "".join(self._texts)
        part = self._part(text, self._logprobs)
        self.item = {**self.item, "status": status, "content": [part]}
        return [
            (
                f"{self.text_event}.done",
                {**self._place, "text": text, **self._with(self._logprobs)},
            ),
            ("response.content_part.done", {**self._place, "part": part}),
        ]

    def _part(self, text: str, logprobs: Sequence[Item]) -> Item:
        return {"type": self.part_kind, "text": text}

    def _with(self, logprobs: Sequence[Item]) -> Item:
        return {}


class _OpenReasoning(_TextItem):
    """The model thinks."""

    part_kind = "reasoning_text"
    text_event = "response.reasoning_text"

    def __init__(self, index: int) -> None:
        item = {"id": new_id("rs"), "type": "reasoning", "status": "in_progress"}
        super().__init__(index, {**item, "summary": [], "content": []})


class _OpenMessage(_TextItem):
    """The model speaks."""

    part_kind = "output_text"
    text_event = "response.output_text"

    def __init__(self, index: int) -> None:
        item = {"id": new_id("msg"), "type": "message", "status": "in_progress"}
        super().__init__(index, {**item, "role": "assistant", "content": []})

    def _part(self, text: str, logprobs: Sequence[Item]) -> Item:
        part = {"type": self.part_kind, "text": text}
        return {**part, "annotations": [], "logprobs": list(logprobs)}

    def _with(self, logprobs: Sequence[Item]) -> Item:
        return {"logprobs": list(logprobs)}


class _OpenCall:
    """The model calls a function."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self._texts: list[str] = []
        self.item: Item = {
            "id": new_id("fc"),
            "type": "function_call",
            "status": "in_progress",
            "call_id": new_call_id(),
            "name": name,
            "arguments": "",
        }
        self._place = {"item_id": self.item["id"], "output_index": index}

    def open(self) -> list[Told]:
        added = {"output_index": self.index, "item": dict(self.item)}
        return [("response.output_item.added", added)]

    def delta(self, text: str, logprobs: Sequence[Item]) -> list[Told]:
        self._texts.append(text)
        return [("response.function_call_arguments.delta", {**self._place, "delta": text})]

    def close(self, status: str) -> list[Told]:
        arguments = "".join(self._texts)
        self.item = {**self.item, "status": status, "arguments": arguments}
        done = {**self._place, "name": self.item["name"], "arguments": arguments}
        return [("response.function_call_arguments.done", done)]


class _OpenCustomCall:
    """The model calls a tool that takes a text, which is known once it is whole."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self._texts: list[str] = []
        self.item: Item = {
            "id": new_id("ctc"),
            "type": "custom_tool_call",
            "status": "in_progress",
            "call_id": new_call_id(),
            "name": name,
            "input": "",
        }
        self._place = {"item_id": self.item["id"], "output_index": index}

    def open(self) -> list[Told]:
        added = {"output_index": self.index, "item": dict(self.item)}
        return [("response.output_item.added", added)]

    def delta(self, text: str, logprobs: Sequence[Item]) -> list[Told]:
        self._texts.append(text)
        return []

    def close(self, status: str) -> list[Told]:
        text = custom_input("".join(self._texts))
        self.item = {**self.item, "status": status, "input": text}
        return [
            ("response.custom_tool_call_input.delta", {**self._place, "delta": text}),
            ("response.custom_tool_call_input.done", {**self._place, "input": text}),
        ]
