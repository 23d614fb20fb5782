"""Turns tokenized sources into batches: packed rows first, single conversations later.

Knows sampling shares, packing, length buckets and how to continue where it stopped. Does not
know how tokens were made or what a model does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.default_model.training.chat import Tokens

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Inputs and next-token targets, both (rows, length) int64; ignored targets are -100."""

    ids: Tensor
    targets: Tensor


class ShuffledIndices:
    """Endless indices below `count`, in a fresh order each pass."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.epoch, self.position = 0, 0
        self._order = self._shuffle()

    def _shuffle(self) -> np.ndarray:
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.count)

    def __next__(self) -> int:
        if self.position == self.count:
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._shuffle()
        self.position += 1
        return int(self._order[self.position - 1])

    def state(self) -> dict[str, int]:
        """Where the sequence stands."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Continues where `state` was taken."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffle()


def _choices(mix: dict[str, float], sources: dict[str, list[Tokens]]) -> tuple[list[str], Any]:
    names = [name for name in mix if sources.get(name)]
    if not names:
        raise ValueError(f"none of the sources {sorted(mix)} is in the corpus")
    shares = np.array([mix[name] for name in names])
    return names, shares / shares.sum()


class PackedRows:
    """Rows of one source each, cut from its documents laid end to end.

    The `later` part of the mixture comes in when it is asked for. It changes nothing before: a
    run that starts before its documents exist goes on as if they had been there.
    """

    def __init__(
        self,
        sources: dict[str, list[Tokens]],
        mix: dict[str, float],
        seed: int,
        later: dict[str, float] | None = None,
    ) -> None:
        whole = {**mix, **(later or {})}
        self.names, _ = _choices(whole, sources)
        self.first = np.array([mix.get(name, 0.0) for name in self.names])
        self.whole = np.array([whole[name] for name in self.names])
        self.sources = sources
        self.rng = np.random.default_rng(seed)
        self.order = {
            n: ShuffledIndices(len(sources[n]), seed + i)
            for i, n in enumerate(whole)
            if n in self.names
        }
        self.rest = {n: np.zeros(0, np.uint16) for n in self.names}

    def _row(self, name: str, length: int) -> np.ndarray:
        pieces, have = [self.rest[name]], len(self.rest[name])
        while have < length + 1:
            pieces.append(self.sources[name][next(self.order[name])].ids)
            have += len(pieces[-1])
        stream = np.concatenate(pieces)
        self.rest[name] = stream[length:]
        return stream[: length + 1]

    def batch(self, tokens: int, length: int, later: bool = True) -> Batch:
        """`tokens // length` rows of `length` tokens, every target counted.

        `later`: draw from the whole mixture.
        """
        shares = self.whole if later else self.first
        count = max(1, tokens // length)
        picks = self.rng.choice(len(self.names), size=count, p=shares / shares.sum())
        rows = torch.from_numpy(
            np.stack([self._row(self.names[i], length) for i in picks]).astype(np.int64)
        )
        return Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    def state(self) -> dict[str, Any]:
        """Everything needed to continue exactly here."""
        return {
            "rng": self.rng.bit_generator.state,
            "order": {n: order.state() for n, order in self.order.items()},
            "rest": {n: rest.tolist() for n, rest in self.rest.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.rng.bit_generator.state = state["rng"]
        for name in self.order.keys() & state["order"].keys():
            self.order[name].restore(state["order"][name])
            self.rest[name] = np.array(state["rest"][name], np.uint16)


class ChatRows:
    """One conversation per row, from position 0, batched with others of like length."""

    def __init__(
        self,
        sources: dict[str, list[Tokens]],
        mix: dict[str, float],
        lengths: tuple[int, ...],
        seed: int,
    ) -> None:
        self.names, self.shares = _choices(mix, sources)
        self.sources, self.lengths = sources, lengths
        self.rng = np.random.default_rng(seed)
        self.order = {
            n: ShuffledIndices(len(sources[n]), seed + i)
            for i, n in enumerate(mix)
            if n in self.names
        }
        self.waiting: dict[int, list[tuple[str, int]]] = {length: [] for length in lengths}

    def batch(self, tokens: int) -> Batch:
        """The next full bucket: `tokens // length` rows; only the assistant's words count."""
        while True:
            name = self.names[int(self.rng.choice(len(self.names), p=self.shares))]
            index = next(self.order[name])
            need = min(len(self.sources[name][index].ids) - 1, self.lengths[-1])
            length = next(length for length in self.lengths if length >= need)
            self.waiting[length].append((name, index))
            if len(self.waiting[length]) * length >= tokens:
                chosen, self.waiting[length] = self.waiting[length], []
                return chat_batch([self.sources[n][i] for n, i in chosen], length)

    def state(self) -> dict[str, Any]:
        """Everything needed to continue exactly here."""
        return {
            "rng": self.rng.bit_generator.state,
            "order": {n: order.state() for n, order in self.order.items()},
            "waiting": {length: list(rows) for length, rows in self.waiting.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.rng.bit_generator.state = state["rng"]
        for name in self.order.keys() & state["order"].keys():
            self.order[name].restore(state["order"][name])
        self.waiting = {length: list(rows) for length, rows in state["waiting"].items()}


def chat_batch(conversations: list[Tokens], length: int) -> Batch:
    """Pads conversations to `length`; only the assistant's tokens are targets."""
    ids = np.zeros((len(conversations), length), np.int64)
    targets = np.full((len(conversations), length), IGNORED, np.int64)
    for row, conversation in enumerate(conversations):
        inputs = conversation.ids[:-1][:length]
        following = conversation.ids[1:][:length].astype(np.int64)
        ids[row, : len(inputs)] = inputs
        own = conversation.own[1:][:length]
        targets[row, : len(inputs)] = np.where(own, following, IGNORED)
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets))
