"""Merges what programs that read different keys of one query leave: a softmax over all of them.

Has been run by Triton's interpreter only, never on a card yet. Knows nothing of keys or blocks.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from engine.attention.triton_tiles import MOST_SPLITS, padded


def reduce_splits(partials: Tensor, stats: Tensor, out: Tensor, *, in_order: bool) -> None:
    """Merge the splits of each row.

    Args:
        partials: `[rows, splits, head_dim]` float32: sums of weighted values; not read where the
            largest score says that there was no key.
        stats: `[rows, splits, 2]` float32: the largest score, in base 2, and the sum of weights.
        out: `[rows, head_dim]`, written: zeros where no split had a key.
        in_order: one after the other, with the bits of a program that reads all splits itself;
            any number of splits. Otherwise all at once, at most `MOST_SPLITS`.
    """
    rows, num_splits, head_dim = partials.shape
    kernel = _reduce_in_order_kernel if in_order else _reduce_kernel
    assert in_order or num_splits <= MOST_SPLITS
    kernel[(rows,)](
        partials,
        stats,
        out,
        num_splits,
        HEAD_DIM=head_dim,
        TILE_SPLITS=MOST_SPLITS,
        TILE_DIM=padded(head_dim),
    )


@triton.jit
def merge(m, total, acc, part_m, part_total, part_acc):
    """Largest score, sum and weighted values `[rows]`, `[rows]`, `[rows, dim]` of two sets of keys.

    A set without keys (-inf, 0, 0) leaves the other exactly as it is. Multiply-adds are spelled
    out, so that no compiler's choice of them makes two places where this is used differ.
    """
    larger = tl.maximum(m, part_m)
    shift = tl.where(larger == float("-inf"), 0.0, larger)
    shrink = tl.exp2(m - shift)
    weight = tl.exp2(part_m - shift)
    total = tl.fma(total, shrink, part_total * weight)
    many = tl.broadcast_to(shrink[:, None], acc.shape)
    return larger, total, tl.fma(acc, many, part_acc * weight[:, None])


@triton.jit(do_not_specialize=["num_splits"])
def _reduce_kernel(
    partials,
    stats,
    out,
    num_splits,
    HEAD_DIM: tl.constexpr,
    TILE_SPLITS: tl.constexpr,
    TILE_DIM: tl.constexpr,
):
    """One row. Grid: (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, TILE_SPLITS)
    column = tl.arange(0, TILE_DIM)
    part = row * num_splits + split
    m = tl.load(stats + part * 2, split < num_splits, other=float("-inf"))
    total = tl.load(stats + part * 2 + 1, split < num_splits, other=0.0)
    largest = tl.max(m, 0)
    weight = tl.exp2(m - tl.where(largest == float("-inf"), 0.0, largest))
    some = (m > float("-inf"))[:, None] & (column < HEAD_DIM)[None, :]
    acc = tl.load(partials + part[:, None] * HEAD_DIM + column[None, :], some, other=0.0)
    total = tl.sum(total * weight, 0)
    result = tl.sum(acc * weight[:, None], 0) / tl.where(total == 0, 1.0, total)
    tl.store(out + row * HEAD_DIM + column, result.to(out.dtype.element_ty), column < HEAD_DIM)


@triton.jit(do_not_specialize=["num_splits"])
def _reduce_in_order_kernel(
    partials,
    stats,
    out,
    num_splits,
    HEAD_DIM: tl.constexpr,
    TILE_SPLITS: tl.constexpr,
    TILE_DIM: tl.constexpr,
):
    """One row, by `merge`. Grid: (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    one = tl.arange(0, 1)
    column = tl.arange(0, TILE_DIM)[None, :]
    inside = column < HEAD_DIM
    m = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    acc = tl.zeros([1, TILE_DIM], tl.float32)
    for split in range(0, num_splits):
        part = row * num_splits + split + one
        part_m = tl.load(stats + part * 2)
        part_total = tl.load(stats + part * 2 + 1)
        some = (part_m > float("-inf"))[:, None] & inside
        part_acc = tl.load(partials + part[:, None] * HEAD_DIM + column, some, other=0.0)
        m, total, acc = merge(m, total, acc, part_m, part_total, part_acc)
    result = acc / tl.where(total == 0, 1.0, total)[:, None]
    tl.store(out + row * HEAD_DIM + column, result.to(out.dtype.element_ty), inside)
