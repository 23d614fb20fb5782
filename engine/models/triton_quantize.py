"""Rows of activations to eight bits, each with a scale of its own; an RMS norm before that, if any,
is part of the kernel. Knows nothing of products.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.dependent_launch import chained, follow, lead
from engine.models.triton_thin import Norm

LARGEST = 448.0
"""Of `float8_e4m3fn`."""

_LEAST = 1e-12  # of a row's largest number: a row of zeros has a scale, too


@triton.jit
def _quantize_rows(
    x,
    gain,
    codes,
    scales,
    eps,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    LARGEST: tl.constexpr,
    LEAST: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (rows,)."""
    lead(CHAINED)
    follow(CHAINED)
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, TILE)
    inside = column < SIZE
    values = tl.load(x + row * SIZE + column, mask=inside, other=0.0).to(tl.float32)
    if gain is not None:
        values *= tl.rsqrt(tl.sum(values * values) / SIZE + eps)
        values *= tl.load(gain + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(values)), LEAST) / LARGEST
    rounded = tl.clamp(values / scale, -LARGEST, LARGEST).to(codes.dtype.element_ty)
    tl.store(codes + row * SIZE + column, rounded, mask=inside)
    tl.store(scales + row, scale)


def quantize_rows(x: Tensor, norm: Norm | None) -> tuple[Tensor, Tensor]:
    """`norm(x)` as float8 numbers `[rows, size]` and float32 scales `[rows, 1]`; a row's largest
    number becomes the largest of float8. x: `[rows, size]`, contiguous."""
    rows, size = x.shape
    codes = torch.empty(rows, size, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    tile = triton.next_power_of_2(size)
    _quantize_rows[(rows,)](
        x,
        None if norm is None else norm.gain,
        codes,
        scales,
        0.0 if norm is None else norm.eps,
        SIZE=size,
        TILE=tile,
        LARGEST=LARGEST,
        LEAST=_LEAST,
        num_warps=4 if tile <= 2048 else 8,
        **chained(x),
    )
    return codes, scales
