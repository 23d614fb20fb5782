"""Tile sizes of the attention kernels, and into how many splits a decode's keys are cut.

A table on paper rather than a search at run time: a search costs minutes at the first requests,
and its choice, so the bits of a result, would differ from start to start. Knows sizes of heads and
of one kind of card; nothing of kernels.

The figures are for Hopper (H200: 132 processors, 228 KiB of shared memory each, 4.8 TB/s):

- Decode reads each key once and is bound by memory. By Little's law a processor needs about
  4.8 TB/s * 0.7 us / 132 = 25 KiB on the way at all times; 64 keys and values of 128 bfloat16 are
  32 KiB. Rows are the least that a tensor core takes, 16, unless a group is larger. Two warps and
  five stages read 4.0 to 4.2 TB/s where rows fill the card; where a sequence is split, what counts
  is how soon a program is done, and four warps with three stages were quicker (all measured).
- A chunk is bound by arithmetic: 128 rows by four warps, three stages, were the quickest of
  eleven sizes that were tried with prompts of 8192 tokens.
- Heads of up to 256 halve keys, for the same bytes. float32, which no card should serve, gets
  tiles small enough for plain multiply-adds.
- The invariant mode takes one kind of tensor core instruction for both, since others add in
  another order: `mma.sync`, which is what tiles of less than 64 rows get. `wgmma`, for which a
  decode would be padded to 64 rows, cost it 1.7 times the time; without it a chunk takes 1.6 times
  its own, but few steps are chunks. Both read as many keys at a time; how many rows and warps a
  tile has does not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

SPLIT_KEYS = 512
"""Keys of one split in the invariant mode, counted from the start of the sequence."""

MOST_SPLITS = 16
"""Splits of one decode at most; a power of two. More cost a short context more than they give a
long one: 8.5 us against 9.5 with 32 splits of 1000 keys."""

_PROGRAMS = 3 * 132
"""Programs that fill the card."""

_SPLIT_PROGRAMS = 640
"""Programs that the splits of all rows make together, where rows alone do not fill the card."""

_EIGHT_BIT = (32, 1, 5)
_SPLIT_EIGHT_BIT = (32, 2, 5)
"""Keys, warps and stages, for heads of 128. What counts is the chain from a load through the
widened numbers to a product: one warp waits for no other (254 us against 268 of two with twice the
keys, 256 sequences of 1000 to 2000 keys)."""

_LEAST_KEYS = 128
"""Keys that make a split worth its share of the reduction."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """`rows` (token, query head) of a kv head, and `keys` read at a time; both powers of two."""

    rows: int
    keys: int
    num_warps: int
    num_stages: int

    @property
    def options(self) -> dict[str, int]:
        """What a launch is told beside its arguments."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


def decode_tiles(
    head_dim: int, group: int, dtype: torch.dtype, *, is_split: bool, eight_bit: bool
) -> Tiles:
    """For one token a sequence of a model in `dtype`; `group` query heads share a kv head.
    `is_split`: several programs share the keys of a sequence. `eight_bit`: the cache is."""
    if dtype == torch.float32:
        return Tiles(_rows(16, group), 32, 4, 2)
    if eight_bit and 64 < head_dim <= 128:
        return Tiles(_rows(16, group), *(_SPLIT_EIGHT_BIT if is_split else _EIGHT_BIT))
    keys = 128 if head_dim <= 64 else 64 if head_dim <= 128 else 32
    if is_split:
        return Tiles(_rows(16, group), keys, 4, 3)
    return Tiles(_rows(16, group), keys, 4 if head_dim <= 64 else 2, 5)


def chunk_tiles(head_dim: int, group: int, dtype: torch.dtype) -> Tiles:
    """For many tokens a sequence."""
    if dtype == torch.float32:
        return Tiles(_rows(32, group), 32, 4, 2)
    if head_dim <= 128:
        return Tiles(_rows(128, group), 64, 4, 3)
    return Tiles(_rows(64, group), 32, 4, 3)  # more does not fit cards with 99 KiB a program


def invariant_decode_tiles(head_dim: int, group: int, dtype: torch.dtype) -> Tiles:
    """For one token a sequence, where bits must not tell in which tile it was."""
    if dtype == torch.float32:
        return invariant_chunk_tiles(head_dim, group, dtype)
    return Tiles(_rows(16, group), 64 if head_dim <= 128 else 32, 4, 5)


def invariant_chunk_tiles(head_dim: int, group: int, dtype: torch.dtype) -> Tiles:
    """For many tokens a sequence, where bits must not tell that there were many."""
    if dtype == torch.float32:
        return Tiles(_rows(32, group), 32, 4, 2)
    return Tiles(_rows(32, group), 64 if head_dim <= 128 else 32, 4, 4)


def decode_splits(num_decodes: int, num_kv_heads: int, longest_context: int) -> int:
    """Parts of each sequence's keys that are read side by side: 1 where rows fill the card.

    Depends on nothing that a captured graph would not hold fixed; each part's bounds come from
    the sequence's own length, on the device.
    """
    programs = num_decodes * num_kv_heads
    if programs >= _PROGRAMS:
        return 1
    return max(1, min(-(-_SPLIT_PROGRAMS // programs), longest_context // _LEAST_KEYS, MOST_SPLITS))


def invariant_programs(num_decodes: int, num_kv_heads: int, longest_context: int) -> int:
    """Programs that share a sequence's splits of `SPLIT_KEYS` keys; 1 where rows fill the card.

    Not one for each split: a captured graph's bound on contexts is the longest that may come, and
    programs that find no keys cost time too.
    """
    splits = -(-longest_context // SPLIT_KEYS)
    return max(1, min(_PROGRAMS // (num_decodes * num_kv_heads), splits))


def padded(size: int) -> int:
    """The power of two that holds `size`, 16 at least: what a tile's dimension must be."""
    return max(16, 1 << (size - 1).bit_length())


def _rows(least: int, group: int) -> int:
    return max(least, padded(group))
