"""The small operations of a decoder as one kernel each, for GPUs.

Each reads its input once and writes its result once, in float32 between, rounded once; a row's bits
do not depend on other rows. Know nothing of decoders.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.attention.triton_cap import capped
from engine.dependent_launch import chained, follow, lead
from engine.models.activation import CLAMP, CLAMPED_SLOPE, GELU_CUBIC, GELU_LINEAR, Activation

_COLUMNS = 1024
"""Of one program of an elementwise kernel: eight bfloat16 for each thread of four warps."""

_LINEAR = tl.constexpr(GELU_LINEAR)
_CUBIC = tl.constexpr(GELU_CUBIC)
_SLOPE = tl.constexpr(CLAMPED_SLOPE)
_CLAMP = tl.constexpr(CLAMP)


@triton.jit
def through_gate(gate, up, ACTIVATION: tl.constexpr):
    """Values times activated gates; see `engine.models.activation`. Bounded, for an overflow of the
    exponential would tell nothing more."""
    inner = gate
    if ACTIVATION == "gelu_tanh":
        inner = gate * (_LINEAR + _CUBIC * gate * gate)
    if ACTIVATION == "clamped":
        gate = tl.minimum(gate, _CLAMP)
        inner = gate * _SLOPE
        up = tl.minimum(tl.maximum(up, -_CLAMP), _CLAMP) + 1
    return gate / (1 + tl.exp(tl.minimum(-inner, 80.0))) * up


@triton.jit
def _rms_norm(
    x,
    gain,
    residual,
    out,
    eps,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    CHAINED: tl.constexpr,
):
    lead(CHAINED)
    follow(CHAINED)
    row = tl.program_id(0).to(tl.int64) * SIZE
    column = tl.arange(0, TILE)
    inside = column < SIZE
    values = tl.load(x + row + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values) / SIZE + eps)
    gains = tl.load(gain + column, mask=inside, other=0.0).to(tl.float32)
    values *= scale * gains
    if residual is not None:
        values += tl.load(residual + row + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row + column, values, mask=inside)


@triton.jit
def _gated(
    gate_up,
    out,
    ACTIVATION: tl.constexpr,
    WIDE: tl.constexpr,
    TILE: tl.constexpr,
    CHAINED: tl.constexpr,
):
    lead(CHAINED)
    follow(CHAINED)
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = column < WIDE
    gate = tl.load(gate_up + row * 2 * WIDE + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * WIDE + WIDE + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * WIDE + column, through_gate(gate, up, ACTIVATION), mask=inside)


@triton.jit
def _soft_cap(x, size, CAP: tl.constexpr, TILE: tl.constexpr, CHAINED: tl.constexpr):
    lead(CHAINED)
    follow(CHAINED)
    place = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    inside = place < size
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(x + place, capped(values, CAP), mask=inside)


def rms_norm(x: Tensor, gain: Tensor, eps: float, residual: Tensor | None = None) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * gain + residual` (arXiv 1910.07467).

    x, residual: `[rows, size]`, contiguous; gain: `[size]`. Returns a new tensor like x.
    """
    rows, size = x.shape
    out = torch.empty_like(x)
    tile = triton.next_power_of_2(size)
    warps = 4 if tile <= 2048 else 8
    _rms_norm[(rows,)](
        x, gain, residual, out, eps, SIZE=size, TILE=tile, num_warps=warps, **chained(x)
    )
    return out


def gated(gate_up: Tensor, activation: Activation) -> Tensor:
    """`activation(gate) * up` of contiguous `[rows, 2 * wide]`, the gates first: `[rows, wide]`."""
    rows, both = gate_up.shape
    wide = both // 2
    out = gate_up.new_empty(rows, wide)
    grid = (rows, triton.cdiv(wide, _COLUMNS))
    how = chained(gate_up)
    _gated[grid](gate_up, out, ACTIVATION=activation, WIDE=wide, TILE=_COLUMNS, **how)
    return out


def soft_cap_(x: Tensor, cap: float | None) -> Tensor:
    """`cap tanh(x / cap)` in place, rounded once (Gemma 2, arXiv 2408.00118); as it is without a
    cap. x: contiguous."""
    if cap is not None:
        grid = (triton.cdiv(x.numel(), _COLUMNS),)
        _soft_cap[grid](x, x.numel(), CAP=cap, TILE=_COLUMNS, **chained(x))
    return x
