"""Stages 1 to 4 as Triton kernels: penalties, logit bias, masks, temperature.

A program handles one tile of one row, or a row's list of single tokens. Products and sums are
not fused and divisions are exact, so that a logit comes out as the stages in torch leave it.

Has been run by Triton's interpreter only, never on a card yet.
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

_LIST_BLOCK = 64  # list entries handled at once: most lists are shorter


@triton.jit
def _penalties_kernel(
    logits_ptr,
    logits_stride,
    out_ptr,
    row_ids_ptr,
    frequency_ptr,
    presence_ptr,
    repetition_ptr,
    state_stride,
    counts_ptr,
    prompt_bits_ptr,
    num_words,
    vocab_size,
    PENALTIES: tl.constexpr,
    TILE: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    ids = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = ids < vocab_size
    z = tl.load(logits_ptr + index * logits_stride + ids, mask=inside, other=0.0).to(tl.float32)
    if PENALTIES:
        frequency = tl.load(frequency_ptr + row * state_stride).to(tl.float32)
        presence = tl.load(presence_ptr + row * state_stride).to(tl.float32)
        repetition = tl.load(repetition_ptr + row * state_stride).to(tl.float32)
        if (frequency != 0) | (presence != 0) | (repetition != 1):
            counts = tl.load(counts_ptr + row * vocab_size + ids, mask=inside, other=0)
            z -= counts.to(tl.float32) * frequency + tl.where(counts > 0, presence, 0.0)
            if repetition != 1:
                in_prompt = is_set(prompt_bits_ptr + row * num_words, ids, inside)
                repeated = tl.where(z > 0, tl.div_rn(z, repetition), z * repetition)
                z = tl.where(in_prompt | (counts > 0), repeated, z)
    tl.store(out_ptr + index * vocab_size + ids, z, mask=inside)


@triton.jit
def _bias_kernel(
    z_ptr,
    row_ids_ptr,
    num_biases_ptr,
    state_stride,
    ids_ptr,
    values_ptr,
    list_stride,
    vocab_size,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    length = tl.load(num_biases_ptr + row * state_stride).to(tl.int32)
    for start in range(0, length, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        inside = entries < length
        ids = tl.load(ids_ptr + row * list_stride + entries, mask=inside, other=0)
        values = tl.load(values_ptr + row * list_stride + entries, mask=inside, other=0.0)
        places = z_ptr + index * vocab_size + ids
        tl.store(places, tl.load(places, mask=inside, other=0.0) + values, mask=inside)


@triton.jit
def _ban_kernel(
    z_ptr,
    row_ids_ptr,
    num_generated_ptr,
    min_tokens_ptr,
    num_bans_ptr,
    state_stride,
    ids_ptr,
    list_stride,
    vocab_size,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    num_generated = tl.load(num_generated_ptr + row * state_stride)
    if num_generated >= tl.load(min_tokens_ptr + row * state_stride):
        return
    length = tl.load(num_bans_ptr + row * state_stride).to(tl.int32)
    for start in range(0, length, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        inside = entries < length
        ids = tl.load(ids_ptr + row * list_stride + entries, mask=inside, other=0)
        tl.store(z_ptr + index * vocab_size + ids, float("-inf"), mask=inside)


@triton.jit
def _mask_kernel(
    source_ptr,
    source_stride,
    out_ptr,
    row_ids_ptr,
    temperature_ptr,
    restricted_ptr,
    state_stride,
    legal_of_ptr,
    legal_ptr,
    num_legal_words,
    allowed_ptr,
    num_words,
    tile_best_ptr,
    tile_token_ptr,
    vocab_size,
    LEGAL: tl.constexpr,
    ALLOWED: tl.constexpr,
    TEMPERATURE: tl.constexpr,
    STORE: tl.constexpr,
    TILE: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    ids = tile * TILE + tl.arange(0, TILE)
    inside = ids < vocab_size
    z = tl.load(source_ptr + index * source_stride + ids, mask=inside, other=float("-inf"))
    z = z.to(tl.float32)
    if LEGAL:
        legal_row = tl.load(legal_of_ptr + index).to(tl.int64)
        if legal_row >= 0:
            legal = is_set(legal_ptr + legal_row * num_legal_words, ids, inside)
            z = tl.where(legal, z, float("-inf"))
    if ALLOWED:
        if tl.load(restricted_ptr + row * state_stride) != 0:
            allowed = is_set(allowed_ptr + row * num_words, ids, inside)
            z = tl.where(allowed, z, float("-inf"))
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


def shape_logits(
    logits: Tensor,
    row_ids: Tensor,
    rows: SamplingRows,
    features: Feature,
    legal: LegalBits | None,
    tiles: Tiles,
) -> ShapedLogits:
    """Run the stages that some row asks for.

    logits: [rows, vocab] of any float type, rows contiguous; left as they are.
    """
    source = logits
    if features & (Feature.PENALTIES | Feature.LOGIT_BIAS | Feature.BANNED_ENDS):
        source = _penalize(logits, row_ids, rows, features, tiles)
    if features & Feature.LOGIT_BIAS:
        _bias_kernel[(tiles.num_rows,)](
            source,
            row_ids,
            rows.num_biases,
            rows.stride,
            rows.biases.ids,
            rows.biases.values,
            rows.biases.stride,
            tiles.vocab_size,
            BLOCK=_LIST_BLOCK,
            num_warps=1,
        )
    if features & Feature.BANNED_ENDS:
        _ban_kernel[(tiles.num_rows,)](
            source,
            row_ids,
            rows.num_generated,
            rows.min_tokens,
            rows.num_bans,
            rows.stride,
            rows.bans.ids,
            rows.bans.stride,
            tiles.vocab_size,
            BLOCK=_LIST_BLOCK,
            num_warps=1,
        )
    return _mask(logits, source, row_ids, rows, features, legal, tiles)


def _penalize(
    logits: Tensor, row_ids: Tensor, rows: SamplingRows, features: Feature, tiles: Tiles
) -> Tensor:
    """A float32 copy of the logits, penalized."""
    out = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
    counts, prompt_bits = rows.penalties.counts, rows.penalties.prompt_bits
    _penalties_kernel[tiles.grid](
        logits,
        logits.stride(0),
        out,
        row_ids,
        rows.frequency,
        rows.presence,
        rows.repetition,
        rows.stride,
        counts,
        prompt_bits,
        0 if prompt_bits is None else prompt_bits.stride(0),
        tiles.vocab_size,
        PENALTIES=bool(features & Feature.PENALTIES),
        TILE=tiles.tile,
        num_warps=8,
        enable_fp_fusion=False,
    )
    return out


def _mask(
    logits: Tensor,
    source: Tensor,
    row_ids: Tensor,
    rows: SamplingRows,
    features: Feature,
    legal: LegalBits | None,
    tiles: Tiles,
) -> ShapedLogits:
    """Stages 3 and 4, on the logits themselves or, in place, on a copy that the first two made."""
    allowed = rows.allowed_bits
    changing = Feature.ALLOWED_IDS | Feature.TEMPERATURE
    changes = legal is not None or features & changing
    store = bool(changes and features & Feature.DRAW)
    out = source
    if store and source is logits:
        out = torch.empty(source.shape, dtype=torch.float32, device=source.device)
    best = torch.empty(tiles.grid, dtype=torch.float32, device=source.device)
    token = torch.empty(tiles.grid, dtype=torch.int32, device=source.device)
    _mask_kernel[tiles.grid](
        source,
        source.stride(0),
        out,
        row_ids,
        rows.temperature,
        rows.restricted,
        rows.stride,
        None if legal is None else legal.row_of,
        None if legal is None else legal.bits,
        0 if legal is None else legal.bits.stride(0),
        allowed,
        0 if allowed is None else allowed.stride(0),
        best,
        token,
        tiles.vocab_size,
        LEGAL=legal is not None,
        ALLOWED=bool(features & Feature.ALLOWED_IDS),
        TEMPERATURE=bool(features & Feature.TEMPERATURE),
        STORE=store,
        TILE=tiles.tile,
        num_warps=8,
        enable_fp_fusion=False,
    )
    return ShapedLogits(out, best, token)
