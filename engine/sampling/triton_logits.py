"""Stages 1 to 4 as one Triton kernel: penalties, logit bias, masks, temperature.

A program handles one tile of one row; of a row's list of single tokens it looks at those in its
tile. Products and sums are not fused and divisions are exact, so that a logit comes out as the
stages in torch leave it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.sampling.sampling_rows import Feature, SamplingRows
from engine.sampling.tiles import Tiles
from engine.sampling.triton_keys import is_set
from engine.sampling.upload import num_words


@triton.jit
def _penalized(
    z,
    row,
    ids,
    inside,
    frequency_ptr,
    presence_ptr,
    repetition_ptr,
    state_stride,
    counts_ptr,
    seen_ptr,
    num_words,
    vocab_size,
):
    """Stage 1. Counts are read where a token was seen, and nowhere else."""
    frequency = tl.load(frequency_ptr + row * state_stride).to(tl.float32)
    presence = tl.load(presence_ptr + row * state_stride).to(tl.float32)
    repetition = tl.load(repetition_ptr + row * state_stride).to(tl.float32)
    if (frequency != 0) | (presence != 0) | (repetition != 1):
        seen = is_set(seen_ptr + row * num_words, ids, inside)
        counts = tl.load(counts_ptr + row * vocab_size + ids, mask=seen, other=0)
        z -= counts.to(tl.float32) * frequency + tl.where(counts > 0, presence, 0.0)
        if repetition != 1:
            repeated = tl.where(z > 0, tl.div_rn(z, repetition), z * repetition)
            z = tl.where(seen, repeated, z)
    return z


@triton.jit
def _biased(
    z,
    row,
    ids,
    first,
    num_biases_ptr,
    state_stride,
    ids_ptr,
    values_ptr,
    list_stride,
    TILE: tl.constexpr,
):
    """Stage 2, for the tile of ids that begins at `first`."""
    for entry in range(0, tl.load(num_biases_ptr + row * state_stride).to(tl.int32)):
        token = tl.load(ids_ptr + row * list_stride + entry)
        if (token >= first) & (token < first + TILE):
            value = tl.load(values_ptr + row * list_stride + entry)
            z = tl.where(ids == token, z + value, z)
    return z


@triton.jit
def _without_bans(
    z,
    row,
    ids,
    num_generated_ptr,
    min_tokens_ptr,
    num_bans_ptr,
    state_stride,
    ids_ptr,
    list_stride,
):
    """Stage 3: the ends that are banned until enough tokens are generated."""
    num_generated = tl.load(num_generated_ptr + row * state_stride)
    if num_generated < tl.load(min_tokens_ptr + row * state_stride):
        for entry in range(0, tl.load(num_bans_ptr + row * state_stride).to(tl.int32)):
            token = tl.load(ids_ptr + row * list_stride + entry)
            z = tl.where(ids == token, float("-inf"), z)
    return z


@triton.jit
def _masked(
    z,
    index,
    row,
    ids,
    inside,
    legal_of_ptr,
    legal_ptr,
    num_legal_words,
    restricted_ptr,
    state_stride,
    allowed_ptr,
    num_words,
    LEGAL: tl.constexpr,
    ALLOWED: tl.constexpr,
):
    """Stage 3: what a grammar and the request allow."""
    if LEGAL:
        legal_row = tl.load(legal_of_ptr + index).to(tl.int64)
        if legal_row >= 0:
            legal = is_set(legal_ptr + legal_row * num_legal_words, ids, inside)
            z = tl.where(legal, z, float("-inf"))
    if ALLOWED:
        if tl.load(restricted_ptr + row * state_stride) != 0:
            allowed = is_set(allowed_ptr + row * num_words, ids, inside)
            z = tl.where(allowed, z, float("-inf"))
    return z


@triton.jit
def _shape_kernel(
    logits_ptr,
    logits_stride,
    out_ptr,
    row_ids_ptr,
    frequency_ptr,
    presence_ptr,
    repetition_ptr,
    num_generated_ptr,
    min_tokens_ptr,
    num_biases_ptr,
    num_bans_ptr,
    restricted_ptr,
    temperature_ptr,
    state_stride,
    counts_ptr,
    seen_ptr,
    bias_ids_ptr,
    bias_values_ptr,
    bias_stride,
    ban_ids_ptr,
    ban_stride,
    legal_of_ptr,
    legal_ptr,
    num_legal_words,
    allowed_ptr,
    num_words,
    tile_best_ptr,
    tile_token_ptr,
    vocab_size,
    PENALTIES: tl.constexpr,
    BIASES: tl.constexpr,
    BANS: tl.constexpr,
    LEGAL: tl.constexpr,
    ALLOWED: tl.constexpr,
    TEMPERATURE: tl.constexpr,
    STORE: tl.constexpr,
    TILE: tl.constexpr,
):
    """Grid: (rows, tiles)."""
    index = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    first = tile * TILE
    ids = first + tl.arange(0, TILE)
    inside = ids < vocab_size
    z = tl.load(logits_ptr + index * logits_stride + ids, mask=inside, other=float("-inf"))
    z = z.to(tl.float32)
    if PENALTIES:
        z = _penalized(
            z, row, ids, inside, frequency_ptr, presence_ptr, repetition_ptr, state_stride,
            counts_ptr, seen_ptr, num_words, vocab_size,
        )  # fmt: skip
    if BIASES:
        z = _biased(
            z, row, ids, first, num_biases_ptr, state_stride, bias_ids_ptr, bias_values_ptr,
            bias_stride, TILE,
        )  # fmt: skip
    if BANS:
        z = _without_bans(
            z, row, ids, num_generated_ptr, min_tokens_ptr, num_bans_ptr, state_stride,
            ban_ids_ptr, ban_stride,
        )  # fmt: skip
    z = _masked(
        z, index, row, ids, inside, legal_of_ptr, legal_ptr, num_legal_words, restricted_ptr,
        state_stride, allowed_ptr, num_words, LEGAL, ALLOWED,
    )  # fmt: skip
    if TEMPERATURE:
        temperature = tl.load(temperature_ptr + row * state_stride).to(tl.float32)
        z = tl.div_rn(z, tl.where(temperature > 0, temperature, 1.0))
    if STORE:
        tl.store(out_ptr + index * vocab_size + ids, z, mask=inside)
    z = tl.where(z == z, z, float("-inf"))  # NaN would be the best of all
    best = tl.max(z, axis=0)
    place = index * tl.num_programs(1) + tile
    tl.store(tile_best_ptr + place, best)
    tl.store(tile_token_ptr + place, tl.min(tl.where(z == best, ids, vocab_size), axis=0))


@dataclass(frozen=True, slots=True)
class LegalBits:
    """Rows of the step bound by a grammar. row_of: int32 [rows], the row of `bits` for each row of
    the step or -1; bits: int32 [n, words], bit i % 32 of word i // 32 for id i."""

    row_of: Tensor
    bits: Tensor


@dataclass(frozen=True, slots=True)
class ShapedLogits:
    """What the draw starts from.

    values: [rows, vocab] after stages 1 to 4, float32, or the logits themselves where these
    stages change nothing; best, token: float32 and int32 [rows, tiles], the largest of each tile
    and the lowest id that has it.
    """

    values: Tensor
    best: Tensor
    token: Tensor


_CHANGING = (
    Feature.PENALTIES
    | Feature.LOGIT_BIAS
    | Feature.BANNED_ENDS
    | Feature.ALLOWED_IDS
    | Feature.TEMPERATURE
)


def shape_logits(
    logits: Tensor,
    row_ids: Tensor,
    rows: SamplingRows,
    features: Feature,
    legal: LegalBits | None,
    tiles: Tiles,
) -> ShapedLogits:
    """Run the stages that some row asks for, in one pass over the logits.

    logits: [rows, vocab] of any float type, rows contiguous; left as they are. Where all rows are
    greedy, nothing but the best tokens is written.
    """
    device = logits.device
    # Tables exist once a row has needed them. A kernel is compiled for whether it is given one, so
    # only those are given that the step needs.
    penalizes, restricts = bool(features & Feature.PENALTIES), bool(features & Feature.ALLOWED_IDS)
    changes = legal is not None or bool(features & _CHANGING)
    store = changes and bool(features & Feature.DRAW)
    out = torch.empty(logits.shape, dtype=torch.float32, device=device) if store else logits
    best = torch.empty(tiles.grid, dtype=torch.float32, device=device)
    token = torch.empty(tiles.grid, dtype=torch.int32, device=device)
    _shape_kernel[tiles.grid](
        logits,
        logits.stride(0),
        out,
        row_ids,
        rows.frequency,
        rows.presence,
        rows.repetition,
        rows.num_generated,
        rows.min_tokens,
        rows.num_biases,
        rows.num_bans,
        rows.restricted,
        rows.temperature,
        rows.stride,
        rows.penalties.counts if penalizes else None,
        rows.penalties.seen_bits if penalizes else None,
        rows.biases.ids,
        rows.biases.values,
        rows.biases.stride,
        rows.bans.ids,
        rows.bans.stride,
        None if legal is None else legal.row_of,
        None if legal is None else legal.bits,
        0 if legal is None else legal.bits.stride(0),
        rows.allowed_bits if restricts else None,
        num_words(tiles.vocab_size),
        best,
        token,
        tiles.vocab_size,
        PENALTIES=penalizes,
        BIASES=bool(features & Feature.LOGIT_BIAS),
        BANS=bool(features & Feature.BANNED_ENDS),
        LEGAL=legal is not None,
        ALLOWED=restricts,
        TEMPERATURE=bool(features & Feature.TEMPERATURE),
        STORE=store,
        TILE=tiles.tile,
        num_warps=tiles.num_warps,
        enable_fp_fusion=False,
    )
    return ShapedLogits(out, best, token)
