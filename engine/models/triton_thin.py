"""The product of a single row with a matrix, with what stands before and after it fused in.

A row is what one sequence decodes: the whole cost is to read the weights once, and tensor cores
have nothing to do. A program takes some columns of the result, that is rows of the weights, and
keeps one sum per place in a tile until the end, so that no thread waits for another. The weights of
its first tile are on the way before the kernel that makes its input is done.

Weights must be on their way long before they are multiplied by: at 4 TB/s, and 0.8 us from load to
use, 25 kB for each processor (Little's law). Of 16 bits one tile ahead is enough, of eight bits two
are loaded. (That has not been measured on a card yet.)

The RMS norm of the input needs no pass of its own: its scale is one number for all columns, which
multiplies their sums, and its sum of squares is taken along. Knows nothing of layers.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from engine.dependent_launch import chained, follow, lead
from engine.float8 import in_word, read_as, unpacked
from engine.models.activation import Activation
from engine.models.triton_layers import through_gate


class _Tile(NamedTuple):
    """Columns of the result that a program takes."""

    columns: int
    num_warps: int

    def depth(self, x: Tensor) -> int:
        """How deep it reads at a time: one load of the input, of 16 bytes, for each of its threads,
        so that sums stay within threads."""
        return _vector(x) * 32 * self.num_warps


_LAYER = _Tile(2, 4)
_EIGHT_BIT = _Tile(4, 2)
_EIGHT_BIT_GATED = _Tile(2, 2)  # which is twice as many
_HEAD = _Tile(8, 2)
_MANY_COLUMNS = 2**16
"""From here on it is a vocabulary's, and programs of two columns are too short: 95 us against 73
for 152 thousand columns of 1024."""


class Norm(NamedTuple):
    """An RMS norm (arXiv 1910.07467) of what goes into a product. gain: `[in]`."""

    gain: Tensor
    eps: float


def thin_product(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale: Tensor | None = None,
    norm: Norm | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """`norm(x) W^T * scale + bias + residual`, summed in float32 and rounded once.

    x: `[1, in]`; weight: `[out, in]`, of float8 with a scale, `in` then being a multiple of four;
    scale: float32 `[out]`; bias: `[out]`; residual: `[1, out]`; all contiguous, and but for these
    two of one dtype. Returns `[1, out]`.
    """
    columns = weight.shape[0]
    out = x.new_empty(1, columns)
    _launch(x, weight, bias, scale, norm, residual, out, columns, None)
    return out


def thin_gated(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm: Norm | None,
    activation: Activation,
    *,
    scale: Tensor | None = None,
) -> Tensor:
    """`activation(gate) * up` of `norm(x) W^T * scale + bias`, whose first half are the gates.

    x: `[1, in]`; weight: `[2 * wide, in]`; bias, scale: `[2 * wide]`. Returns `[1, wide]`.
    """
    wide = weight.shape[0] // 2
    out = x.new_empty(1, wide)
    _launch(x, weight, bias, scale, norm, None, out, wide, activation)
    return out


def _tile(weight: Tensor, columns: int, *, gated: bool) -> _Tile:
    if in_word(weight) > 1:
        return _EIGHT_BIT_GATED if gated else _EIGHT_BIT
    return _HEAD if columns >= _MANY_COLUMNS else _LAYER


def _vector(x: Tensor) -> int:
    """Numbers in 16 bytes."""
    return 16 // x.element_size()


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    norm: Norm | None,
    residual: Tensor | None,
    out: Tensor,
    columns: int,
    activation: Activation | None,
) -> None:
    """With an activation, `weight` has as many gates, then as many values, as `columns`."""
    assert x.is_contiguous() and weight.is_contiguous()
    tile = _tile(weight, columns, gated=activation is not None)
    _thin[(triton.cdiv(columns, tile.columns),)](
        x,
        read_as(weight),
        bias,
        scale,
        None if norm is None else norm.gain,
        residual,
        out,
        columns,
        x.shape[1],
        0.0 if norm is None else norm.eps,
        GATED=activation is not None,
        ACTIVATION=activation,
        COLUMNS=tile.columns,
        DEPTH=tile.depth(x),
        VECTOR=_vector(x),
        IN_WORD=in_word(weight),
        AHEAD=1 if in_word(weight) == 1 else 2,
        ON_CARD=x.is_cuda,
        num_warps=tile.num_warps,
        **chained(x),
    )


@triton.jit
def _thin(
    x,
    weight,
    bias,
    scale,
    gain,
    residual,
    out,
    columns,
    depth,
    eps,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    VECTOR: tl.constexpr,
    IN_WORD: tl.constexpr,
    AHEAD: tl.constexpr,
    ON_CARD: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (tiles of columns,). Gated, `weight` has `columns` rows of gates, then as many more;
    it is loaded as words of `IN_WORD` numbers, one tile ahead or two."""
    lead(CHAINED)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < columns
    inner = tl.arange(0, DEPTH)
    # As many numbers at a time for each thread of the weights as of the input: else the input
    # would go through shared memory to get where the weights are.
    word = tl.max_contiguous(tl.arange(0, DEPTH // IN_WORD), VECTOR // IN_WORD)
    words = depth // IN_WORD
    at_weight = weight + column.to(tl.int64)[:, None] * words + word[None, :]
    at_up = weight + (columns + column).to(tl.int64)[:, None] * words + word[None, :]
    step: tl.constexpr = DEPTH // IN_WORD
    w = _tile_at(at_weight, 0, inside, word, words)
    u = _tile_at(at_up, 0, inside, word, words) if GATED else w
    next_w, next_u = w, u
    if AHEAD > 1:
        next_w = _tile_at(at_weight, step, inside, word, words)
        next_u = _tile_at(at_up, step, inside, word, words) if GATED else next_w
    follow(CHAINED)
    sums = tl.zeros((COLUMNS, DEPTH), tl.float32)
    up_sums = tl.zeros((COLUMNS, DEPTH), tl.float32)
    squares = tl.zeros((DEPTH,), tl.float32)
    for first in range(0, words, AHEAD * step):
        for turn in tl.static_range(AHEAD):
            at = first + turn * step
            within = inner < depth - at * IN_WORD
            values = tl.load(x + at * IN_WORD + inner, within, other=0.0).to(tl.float32)
            if gain is not None:
                squares += values * values
                values *= tl.load(gain + at * IN_WORD + inner, within, other=0.0).to(tl.float32)
            sums += unpacked(w, IN_WORD, ON_CARD).to(tl.float32) * values[None, :]
            later = _tile_at(at_weight, at + AHEAD * step, inside, word, words)
            w, next_w = next_w if AHEAD > 1 else later, later
            if GATED:
                up_sums += unpacked(u, IN_WORD, ON_CARD).to(tl.float32) * values[None, :]
                later = _tile_at(at_up, at + AHEAD * step, inside, word, words)
                u, next_u = next_u if AHEAD > 1 else later, later
    root = 1.0
    if gain is not None:
        root = tl.rsqrt(tl.sum(squares, 0) / depth + eps)
    total = _finished(tl.sum(sums, 1), root, column, inside, scale, bias)
    if GATED:
        up = _finished(tl.sum(up_sums, 1), root, columns + column, inside, scale, bias)
        total = through_gate(total, up, ACTIVATION)
    if residual is not None:
        total += tl.load(residual + column, inside, other=0.0).to(tl.float32)
    tl.store(out + column, total, inside)


@triton.jit
def _tile_at(matrix, at, inside, word, words):
    """What a tile from word `at` of each row on holds."""
    return tl.load(matrix + at, inside[:, None] & (word < words - at)[None, :], other=0)


@triton.jit
def _finished(total, root, column, inside, scale, bias):
    """Sums of some columns with all factors, and the bias."""
    total *= root
    if scale is not None:
        total *= tl.load(scale + column, inside, other=0.0)
    if bias is not None:
        total += tl.load(bias + column, inside, other=0.0).to(tl.float32)
    return total
