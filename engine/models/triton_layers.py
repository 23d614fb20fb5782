"""The small operations of a decoder as one kernel each, for GPUs.

Each reads its input once and writes its result once, in float32 between, rounded once; a row's bits
do not depend on other rows. Know nothing of decoders.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.dependent_launch import chained, follow, lead

_COLUMNS = 1024  # of one program of `silu_mul`: eight bfloat16 for each thread of four warps


@triton.jit
def _rms_norm(x, gain, out, eps, SIZE: tl.constexpr, TILE: tl.constexpr, CHAINED: tl.constexpr):
    lead(CHAINED)
    follow(CHAINED)
    row = tl.program_id(0).to(tl.int64) * SIZE
    column = tl.arange(0, TILE)
    inside = column < SIZE
    values = tl.load(x + row + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values) / SIZE + eps)
    gains = tl.load(gain + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row + column, values * scale * gains, mask=inside)


@triton.jit
def _silu_mul(gate_up, out, WIDE: tl.constexpr, TILE: tl.constexpr, CHAINED: tl.constexpr):
    lead(CHAINED)
    follow(CHAINED)
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = column < WIDE
    gate = tl.load(gate_up + row * 2 * WIDE + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * WIDE + WIDE + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * WIDE + column, gate / (1 + tl.exp(-gate)) * up, mask=inside)


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * gain` (arXiv 1910.07467).

    x: `[rows, size]`, contiguous; gain: `[size]`. Returns a new tensor like x.
    """
    rows, size = x.shape
    out = torch.empty_like(x)
    tile = triton.next_power_of_2(size)
    warps = 4 if tile <= 2048 else 8
    _rms_norm[(rows,)](x, gain, out, eps, SIZE=size, TILE=tile, num_warps=warps, **chained(x))
    return out


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up` of `[rows, 2 * wide]`, the gates first, contiguous: `[rows, wide]`."""
    rows, both = gate_up.shape
    wide = both // 2
    out = gate_up.new_empty(rows, wide)
    grid = (rows, triton.cdiv(wide, _COLUMNS))
    _silu_mul[grid](gate_up, out, WIDE=wide, TILE=_COLUMNS, **chained(gate_up))
    return out
