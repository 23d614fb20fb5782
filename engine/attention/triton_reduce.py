"""Merges what programs that read different keys of one query leave: a softmax over all of them.

Knows nothing of keys or blocks.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from engine.attention.triton_tiles import MOST_SPLITS, padded
from engine.dependent_launch import chained, follow, lead


def reduce_splits(partials: Tensor, stats: Tensor, out: Tensor, sinks: Tensor | None) -> None:
    """Merge the splits of each head, all at once.

    Args:
        partials: `[sequences, heads, splits, head_dim]` float32: sums of weighted values; not read
            where the largest score says that there was no key. At most `MOST_SPLITS` splits.
        stats: `[sequences, heads, splits, 2]` float32: the largest score, in base 2, and the sum
            of weights.
        out: `[sequences, heads, head_dim]`, written: zeros where no split had a key.
        sinks: float32 `[heads]` or None, see `StepAttention.attend`.
    """
    sequences, heads, num_splits, head_dim = partials.shape
    assert num_splits <= MOST_SPLITS
    _reduce_kernel[(sequences * heads,)](
        partials,
        stats,
        out,
        stats if sinks is None else sinks,
        num_splits,
        HEADS=heads,
        HEAD_DIM=head_dim,
        TILE_SPLITS=MOST_SPLITS,
        TILE_DIM=padded(head_dim),
        HAS_SINKS=sinks is not None,
        **chained(out),
    )


def reduce_splits_in_order(
    partials: Tensor,
    stats: Tensor,
    out: Tensor,
    sinks: Tensor | None,
    lengths: Tensor,
    window: int,
    split_keys: int,
) -> None:
    """As `reduce_splits`, with the bits of a program that reads all splits itself.

    Splits are of `split_keys` keys from the start of the sequence, any number of them; only those
    are read that the last `window` keys (0: all) of `lengths` `[sequences]` int32 touch.
    """
    sequences, heads, num_splits, head_dim = partials.shape
    _reduce_in_order_kernel[(sequences * heads,)](
        partials,
        stats,
        out,
        stats if sinks is None else sinks,
        lengths,
        num_splits,
        HEADS=heads,
        WINDOW=window,
        SPLIT_KEYS=split_keys,
        HEAD_DIM=head_dim,
        TILE_DIM=padded(head_dim),
        HAS_SINKS=sinks is not None,
        **chained(out),
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


@triton.jit
def merge_sink(m, total, acc, sinks, head, HAS_SINKS: tl.constexpr):
    """As `merge`, of the keys and of what is a key without a value: its score is that of the
    rows' `head` in `sinks`."""
    LOG2_E: tl.constexpr = 1.4426950408889634
    if HAS_SINKS:
        score = tl.load(sinks + head) * LOG2_E
        m, total, acc = merge(m, total, acc, score, 1.0, tl.zeros_like(acc))
    return m, total, acc


@triton.jit(do_not_specialize=["num_splits"])
def _reduce_kernel(
    partials,
    stats,
    out,
    sinks,  # not read unless HAS_SINKS
    num_splits,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TILE_SPLITS: tl.constexpr,
    TILE_DIM: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """One row. Grid: (rows,)."""
    lead(CHAINED)
    follow(CHAINED)
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
    one = tl.arange(0, 1)
    total = tl.sum(total * weight, 0) + tl.zeros([1], tl.float32)
    acc = tl.sum(acc * weight[:, None], 0)[None, :]
    m = largest + tl.zeros([1], tl.float32)
    m, total, acc = merge_sink(m, total, acc, sinks, row % HEADS + one, HAS_SINKS)
    result = acc / tl.where(total == 0, 1.0, total)[:, None]
    inside = (column < HEAD_DIM)[None, :]
    place = row * HEAD_DIM + column[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["num_splits"], do_not_specialize_on_alignment=["lengths"])
def _reduce_in_order_kernel(
    partials,
    stats,
    out,
    sinks,  # not read unless HAS_SINKS
    lengths,
    num_splits,
    HEADS: tl.constexpr,
    WINDOW: tl.constexpr,
    SPLIT_KEYS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TILE_DIM: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """One row, by `merge`. Grid: (rows,)."""
    lead(CHAINED)
    follow(CHAINED)
    row = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + row // HEADS)
    first_split = 0
    if WINDOW > 0:
        first_split = tl.maximum(length - WINDOW, 0) // SPLIT_KEYS
    one = tl.arange(0, 1)
    column = tl.arange(0, TILE_DIM)[None, :]
    inside = column < HEAD_DIM
    m = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    acc = tl.zeros([1, TILE_DIM], tl.float32)
    for split in range(first_split, tl.cdiv(length, SPLIT_KEYS)):
        part = row * num_splits + split + one
        part_m = tl.load(stats + part * 2)
        part_total = tl.load(stats + part * 2 + 1)
        part_acc = tl.load(partials + part[:, None] * HEAD_DIM + column, inside, other=0.0)
        m, total, acc = merge(m, total, acc, part_m, part_total, part_acc)
    m, total, acc = merge_sink(m, total, acc, sinks, row % HEADS + one, HAS_SINKS)
    result = acc / tl.where(total == 0, 1.0, total)[:, None]
    tl.store(out + row * HEAD_DIM + column, result.to(out.dtype.element_ty), inside)
