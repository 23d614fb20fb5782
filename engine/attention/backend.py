"""What a model asks of attention, and the plain torch reference that the others are tested by.

Knows nothing of models beyond head counts and windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from engine.attention.forward_batch import ForwardBatch
from engine.attention.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What attention must know of the model. `windows` has one entry per layer; None is full. With
    a `cap`, scaled scores `s` become `cap tanh(s / cap)`."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    windows: tuple[int | None, ...]
    cap: float | None = None

    @property
    def group(self) -> int:
        """Query heads that share one key-value head."""
        return self.num_heads // self.num_kv_heads


class StepAttention(Protocol):
    """Attention bound to one step's batch."""

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Store keys and values, then attend causally.

        Args:
            q: `[tokens, num_heads, head_dim]`.
            k, v: `[tokens, num_kv_heads, head_dim]`, positions already rotated in.
            sinks: float32 `[num_heads]`, or None: the score of one more key of each head, which
                every token sees, with a value of zeros (arXiv 2309.17453; as learned numbers in
                gpt-oss).

        Returns:
            `[tokens, num_heads * head_dim]`, contiguous.
        """
        ...


@runtime_checkable
class RotatingStepAttention(StepAttention, Protocol):
    """One that takes heads as the product of a layer leaves them."""

    def attend_rotating(
        self,
        layer: int,
        heads: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        gain: torch.Tensor | None,
        eps: float,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalize and rotate queries and keys, then do as `attend`.

        Args:
            heads: `[tokens, num_heads + 2 * num_kv_heads, head_dim]`: queries, keys, values;
                contiguous.
            cos, sin: `[tokens, 1, head_dim]`, the sine of the first half negated; rows may be
                apart.
            gain: `[num_heads + num_kv_heads, head_dim]` of an RMS norm of each head, or None.
            sinks: see `attend`.
        """
        ...


class AttentionBackend(Protocol):
    """Makes a StepAttention for each step."""

    def begin(self, batch: ForwardBatch) -> StepAttention:
        """Plan attention for one step."""
        ...


class ReferenceAttention:
    """A softmax over gathered keys, one sequence at a time: slow, plain, right on any device."""

    def __init__(self, shape: AttentionShape, cache: KVCache) -> None:
        self._shape = shape
        self._cache = cache

    def begin(self, batch: ForwardBatch) -> _ReferenceStep:
        """Nothing to plan."""
        return _ReferenceStep(self._shape, self._cache, batch)


class _ReferenceStep:
    def __init__(self, shape: AttentionShape, cache: KVCache, batch: ForwardBatch) -> None:
        self._shape = shape
        self._cache = cache
        self._batch = batch
        self._rows = cache.rows(batch.slots)

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self._cache.store(layer, k, v, self._rows)
        starts: Sequence[int] = self._batch.query_starts.tolist()
        outputs = [
            self._attend_one(layer, q[start:stop], self._batch.positions[start:stop], number, sinks)
            for number, (start, stop) in enumerate(zip(starts, starts[1:], strict=False))
        ]
        return torch.cat(outputs).reshape(q.shape[0], -1)

    def _attend_one(
        self,
        layer: int,
        q: torch.Tensor,
        positions: torch.Tensor,
        number: int,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        length = int(positions[-1]) + 1
        table = torch.from_numpy(self._batch.block_tables[number]).to(q.device)
        keys, values = (
            stored[layer][table].to(q.dtype).transpose(0, 1).flatten(1, 2)[:, :length]
            for stored in (self._cache.keys, self._cache.values)
        )
        keys, values = (x.repeat_interleave(self._shape.group, dim=0) for x in (keys, values))
        distance = positions[:, None] - torch.arange(length, device=q.device)
        visible = distance >= 0
        window = self._shape.windows[layer]
        if window is not None:
            visible &= distance < window
        scores = torch.einsum("thd,hld->htl", q, keys).float() * self._shape.scale
        if self._shape.cap is not None:
            scores = torch.tanh(scores / self._shape.cap) * self._shape.cap
        scores = scores.masked_fill(~visible, float("-inf"))
        if sinks is not None:
            scores = torch.cat((scores, sinks[:, None, None].expand(-1, len(q), 1)), -1)
        weights = scores.softmax(-1)[..., :length].to(q.dtype)
        return torch.einsum("htl,hld->thd", weights, values)
