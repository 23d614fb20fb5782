"""The small parts of a decoder layer: normalization and rotation.

On a CPU each torch call of a small model costs more than its arithmetic, so the forms here are
those with the fewest calls. They use only operations that are rounded alike in vectorized loops
and their scalar tails (+, *, /, sqrt): where a loop is cut then never shows in a result.

Knows nothing of attention or weights files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.rope import RopeSpec, rotation_tables


class RMSNorm:
    """`x / sqrt(mean(x^2) + eps) * gain` over the last dimension (arXiv 1910.07467).

    `gain` is float32 `[size]`, or `[heads, size]` to norm `[rows, heads, size]` with a gain per
    head.
    """

    def __init__(self, gain: Tensor, eps: float) -> None:
        self._size = gain.shape[-1]
        self.eps = self._eps = eps
        self.gain = self._gain = gain.contiguous()
        # With the sum in place of the mean, the root is too large by sqrt(size): put into the
        # gain. `mean` is the one expensive call on a CPU.
        self._sum_gain = gain * self._size**0.5
        self._sum_eps = eps * self._size
        self._on_cpu = gain.device.type == "cpu"

    def __call__(self, x: Tensor) -> Tensor:
        """x: `[rows, ..., size]`, contiguous; returns a new tensor of the same shape."""
        if self._on_cpu and x.dtype == torch.float32:
            scale = (x * x).sum(-1, keepdim=True).add_(self._sum_eps).rsqrt_()
            return (x * scale).mul_(self._sum_gain)
        return (functional.rms_norm(x, (self._size,), None, self._eps) * self._gain).to(x.dtype)


class Rotation(NamedTuple):
    """Cosines and signed sines of one step's positions, each `[tokens, 1, head_dim]`."""

    cos: Tensor
    sin: Tensor


class RotaryEmbedding:
    """Angles that turn pairs (i, i + head_dim / 2) of a head (RoFormer, arXiv 2104.09864)."""

    def __init__(
        self, rope: RopeSpec, head_dim: int, max_len: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        cos, sin = rotation_tables(rope, head_dim, max_len)
        # The minus of the rotated first half sits in the table, so that applying has no negation.
        table = torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1)
        self.table = table.to(device, dtype)  # [max_len, 2, head_dim]

    def prepare(self, positions: Tensor) -> Rotation:
        """Fetch the angles of `positions` `[tokens]` int64 once, for all layers."""
        cos, sin = self.table.index_select(0, positions).unsqueeze(2).unbind(1)
        return Rotation(cos, sin)


def rotate_(heads: Tensor, rotation: Rotation) -> Tensor:
    """Rotate `[tokens, heads, head_dim]` in place."""
    tokens, count, size = heads.shape
    swapped = heads.view(tokens, count, 2, size // 2).flip(2).view(tokens, count, size)
    return heads.mul_(rotation.cos).add_(swapped.mul_(rotation.sin))


class LayerRotations:
    """The rotation of each layer; layers that rotate alike share their tables."""

    def __init__(
        self,
        ropes: Sequence[RopeSpec],
        head_dim: int,
        max_len: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`ropes` has one entry per layer; see `RotaryEmbedding`."""
        distinct = list(dict.fromkeys(ropes))
        self._distinct = [
            RotaryEmbedding(rope, head_dim, max_len, dtype, device) for rope in distinct
        ]
        self._of_layer = [distinct.index(rope) for rope in ropes]

    @property
    def tables(self) -> list[Tensor]:
        """One per layer, `[max_len, 2, head_dim]`."""
        return [self._distinct[number].table for number in self._of_layer]

    def prepare(self, positions: Tensor) -> list[Rotation]:
        """One per layer; see `RotaryEmbedding.prepare`."""
        prepared = [rotary.prepare(positions) for rotary in self._distinct]
        return [prepared[number] for number in self._of_layer]


def rounded(number: float, dtype: torch.dtype) -> float:
    """As `dtype` has it."""
    return torch.tensor(number, dtype=dtype).item()


class Embedding:
    """Rows of a table, scaled."""

    def __init__(self, table: Tensor, scale: float) -> None:
        """table: `[vocabulary, hidden]`; `scale` is rounded to its dtype, as in training."""
        self._table = table
        self._scale = rounded(scale, table.dtype)

    def __call__(self, token_ids: Tensor) -> Tensor:
        """`[tokens, hidden]`, new."""
        rows = self._table.index_select(0, token_ids)
        return rows if self._scale == 1 else rows.mul_(self._scale)
