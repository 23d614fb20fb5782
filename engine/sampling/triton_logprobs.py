"""The table of log-probabilities as Triton kernels, for the rows that ask and no others.

The same columns as `logprob_table.score_table`, without a copy of the logits and without a sort of
a vocabulary: each tile gives its best tokens, and only these are compared between tiles.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_one
from engine.sampling.tiles import TILE, Tiles
from engine.sampling.triton_keys import fixed_point, to_key

_ID_BITS = tl.constexpr(32)
_LOWEST = tl.constexpr(-(2**63))


@triton.jit(do_not_specialize=["width"])
def _best_kernel(
    logits_ptr, logits_stride, places_ptr, best_ptr, width, vocab_size, TILE: tl.constexpr
):
    """A tile's best tokens, best first: the logit's key above the negated id, so that of equal
    logits the lower id comes first and no two are the same."""
    index = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    place = tl.load(places_ptr + index)
    ids = tile * TILE + tl.arange(0, TILE)
    inside = ids < vocab_size
    z = tl.load(logits_ptr + place * logits_stride + ids, mask=inside, other=0.0).to(tl.float32)
    keys = (to_key(z).to(tl.int64) << _ID_BITS) - ids
    keys = tl.where(inside, keys, _LOWEST)
    out_ptr = best_ptr + (index * tl.num_programs(1) + tile) * width
    for rank in range(0, width):
        best = tl.max(keys, axis=0)
        tl.store(out_ptr + rank, best)
        keys = tl.where(keys == best, _LOWEST, keys)


@triton.jit
def _total_kernel(
    logits_ptr,
    logits_stride,
    places_ptr,
    best_ptr,
    total_ptr,
    vocab_size,
    ONE: tl.constexpr,
    TILE: tl.constexpr,
):
    """What a tile's tokens weigh."""
    index = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    place = tl.load(places_ptr + index)
    best = tl.load(best_ptr + index)
    ids = tile * TILE + tl.arange(0, TILE)
    z = tl.load(
        logits_ptr + place * logits_stride + ids, mask=ids < vocab_size, other=float("-inf")
    )
    total = tl.sum(fixed_point(z.to(tl.float32), best, ONE), axis=0)
    tl.store(total_ptr + index * tl.num_programs(1) + tile, total)


def score_rows(
    logits: Tensor, places: Tensor, token_ids: Tensor, width: int, tile: int = TILE
) -> Tensor:
    """The table of some rows of `logits`. Does not wait for the device.

    logits: [any, vocab], float32 or half precision, each row contiguous; places: int64 [rows],
    which of them; token_ids: int64 [rows], the tokens to score. Returns float64
    [rows, 4 + 2 * width].
    """
    tiles = Tiles(len(places), logits.shape[1], tile)
    width = min(width, tiles.vocab_size)
    looked_at = max(width, 1)  # the best one is needed in any case
    shape = (*tiles.grid, looked_at)
    keys = torch.empty(shape, dtype=torch.int64, device=logits.device)
    _best_kernel[tiles.grid](
        logits,
        logits.stride(0),
        places,
        keys,
        looked_at,
        tiles.vocab_size,
        TILE=tile,
        num_warps=tiles.num_warps,
    )
    ids = -keys.flatten(1).topk(looked_at, dim=-1).values & (2**_ID_BITS.value - 1)
    rows = places.unsqueeze(1)
    values = logits[rows, ids].to(torch.float32)
    totals = torch.empty(tiles.grid, dtype=torch.int64, device=logits.device)
    _total_kernel[tiles.grid](
        logits,
        logits.stride(0),
        places,
        values[:, 0].contiguous(),
        totals,
        tiles.vocab_size,
        ONE=float(fixed_point_one(tiles.vocab_size)),
        TILE=tile,
        num_warps=tiles.num_warps,
    )
    columns = (
        values[:, :1],
        totals.sum(dim=-1, keepdim=True),
        token_ids.unsqueeze(1),
        logits[rows, token_ids.unsqueeze(1)],
        ids[:, :width],
        values[:, :width],
    )
    return torch.cat([column.to(torch.float64) for column in columns], dim=1)
