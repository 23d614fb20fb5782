"""Which rows go to which expert, on a GPU: `engine.models.moe.route`, and the order in which
experts take their rows. A kernel each, for launches are what short steps are made of.

Knows nothing of what experts compute. It has been compiled for cards and interpreted, but has not
run on one yet.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.dependent_launch import chained, follow, lead
from engine.models.families.traits import Routing

_PAIRS = 32
"""That a program finds the places of."""
_CHUNK = 1024
"""Pairs that they are compared with at a time."""


class Sorted(NamedTuple):
    """The pairs of a token and one of its experts, `token * per_token + place`, by expert.

    `pairs` is `[pairs]`, `starts` where each expert's begin there, `tile_starts` the number of
    tiles of so many rows before each expert's: `[experts + 1]`. All int64, on the device.
    """

    pairs: Tensor
    starts: Tensor
    tile_starts: Tensor


def route_rows(scores: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """See `engine.models.moe.route`; of equal scores the first expert's is the better."""
    tokens = scores.shape[0]
    shape = (tokens, routing.per_token)
    weights = scores.new_empty(shape, dtype=torch.float32)
    experts = scores.new_empty(shape, dtype=torch.int64)
    _route[(tokens,)](
        scores,
        weights,
        experts,
        EXPERTS=routing.experts,
        PADDED=triton.next_power_of_2(routing.experts),
        PER_TOKEN=routing.per_token,
        PLACES=triton.next_power_of_2(routing.per_token),
        NORMALIZED=routing.normalized,
        num_warps=1,
        **chained(scores),
    )
    return weights, experts


def sort_by_expert(chosen: Tensor, experts: int, tile_rows: int) -> Sorted:
    """chosen: contiguous `[tokens, per_token]` int64. Pairs of one expert stay in their order."""
    count = chosen.numel()
    assert (experts + 1) * count < 2**31, "pairs are compared as int32"
    pairs, starts = torch.empty_like(chosen.view(-1)), chosen.new_empty(experts + 1)
    by_expert = Sorted(pairs, starts, torch.empty_like(starts))
    _sort[(1 + triton.cdiv(count, _PAIRS),)](
        chosen,
        *by_expert,
        count,
        EXPERTS=experts,
        BINS=triton.next_power_of_2(experts + 1),
        PAIRS=_PAIRS,
        CHUNK=_CHUNK,
        TILE_ROWS=tile_rows,
        **chained(chosen),
    )
    return by_expert


@triton.jit
def _route(
    scores,
    weights,
    experts,
    EXPERTS: tl.constexpr,
    PADDED: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    PLACES: tl.constexpr,
    NORMALIZED: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (tokens,)."""
    lead(CHAINED)
    follow(CHAINED)
    token = tl.program_id(0).to(tl.int64)
    expert = tl.arange(0, PADDED)
    place = tl.arange(0, PLACES)
    inside = expert < EXPERTS
    z = tl.load(scores + token * EXPERTS + expert, mask=inside, other=float("-inf")).to(tl.float32)
    left = tl.where(z == z, z, float("-inf"))  # NaN must not choose what is no expert
    best = tl.max(left, 0)
    best = tl.where(best == float("-inf"), 0.0, best)
    total = tl.sum(tl.exp(z - best), 0)
    shares = tl.zeros((PLACES,), tl.float32)
    for number in tl.static_range(PER_TOKEN):
        top = tl.max(left, 0)
        first = tl.min(tl.where(left == top, expert, PADDED), 0)
        left = tl.where(expert == first, float("-inf"), left)
        shares = tl.where(place == number, tl.exp(top - best) / total, shares)
        tl.store(experts + token * PER_TOKEN + number, first)
    if NORMALIZED:
        shares /= tl.sum(shares, 0)
    tl.store(weights + token * PER_TOKEN + place, shares, mask=place < PER_TOKEN)


@triton.jit(do_not_specialize=["count"])
def _sort(
    chosen,
    pairs,
    starts,
    tile_starts,
    count,
    EXPERTS: tl.constexpr,
    BINS: tl.constexpr,
    PAIRS: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (1 + tiles of pairs,)."""
    lead(CHAINED)
    follow(CHAINED)
    block = tl.program_id(0)
    if block == 0:
        _find_starts(chosen, starts, tile_starts, count, EXPERTS, BINS, CHUNK, TILE_ROWS)
    else:
        _find_places(chosen, pairs, (block - 1) * PAIRS, count, EXPERTS, PAIRS, CHUNK)


@triton.jit
def _find_starts(
    chosen,
    starts,
    tile_starts,
    count,
    EXPERTS: tl.constexpr,
    BINS: tl.constexpr,  # one more than there are experts at least
    CHUNK: tl.constexpr,
    TILE_ROWS: tl.constexpr,
):
    """From how many pairs each expert has."""
    bins = tl.arange(0, BINS)
    counts = tl.zeros((BINS,), tl.int32)
    for at in range(0, count, CHUNK):
        expert = _expert_of(chosen, at + tl.arange(0, CHUNK), count, EXPERTS)
        counts += tl.histogram(expert, BINS)
    counts = tl.where(bins < EXPERTS, counts, 0)
    tiles = (counts + (TILE_ROWS - 1)) // TILE_ROWS
    tl.store(starts + bins, tl.cumsum(counts, 0) - counts, mask=bins <= EXPERTS)
    tl.store(tile_starts + bins, tl.cumsum(tiles, 0) - tiles, mask=bins <= EXPERTS)


@triton.jit
def _find_places(
    chosen, pairs, first, count, EXPERTS: tl.constexpr, PAIRS: tl.constexpr, CHUNK: tl.constexpr
):
    """A pair's place is the number of those before it: of lower experts, or earlier ones of its
    own. Each is compared with all, which takes less than to wait for a second kernel."""
    pair = first + tl.arange(0, PAIRS)
    rank = _expert_of(chosen, pair, count, EXPERTS) * count + pair
    before = tl.zeros((PAIRS,), tl.int32)
    for at in range(0, count, CHUNK):
        other = at + tl.arange(0, CHUNK)
        others = _expert_of(chosen, other, count, EXPERTS) * count + other
        before += tl.sum((others[None, :] < rank[:, None]).to(tl.int32), 1)
    tl.store(pairs + before, pair, mask=pair < count)


@triton.jit
def _expert_of(chosen, pair, count, EXPERTS: tl.constexpr):
    """int32; one more than there are behind the last pair."""
    return tl.load(chosen + pair, mask=pair < count, other=EXPERTS).to(tl.int32)
