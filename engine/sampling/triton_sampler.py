"""The sampler for GPUs: the pipeline of `sampler.py` as kernels over rows that stay on the device.

Nothing here waits for the device. The same logits, parameters and seeds give the same tokens as the
stages in torch, which are the oracle of its tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.sampling.logprob_table import DeviceLogprobs
from engine.sampling.sampling_rows import Feature, SamplingRows
from engine.sampling.tiles import TILE, Tiles
from engine.sampling.triton_draw import draw_tokens
from engine.sampling.triton_logits import LegalBits, shape_logits
from engine.sampling.triton_logprobs import score_rows
from engine.sampling.triton_truncate import find_borders
from engine.sampling.upload import upload

Legal = tuple[Sequence[int], NDArray[np.int32]]
"""Rows of the step that a grammar binds, and their legal ids: int32 [rows, words], bit i % 32 of
word i // 32 for id i."""


@dataclass(frozen=True, slots=True)
class DeviceTokens:
    """A step's tokens, still on the device. token_ids: int64 [rows], 0 for padding; logprobs: None
    when no row asked."""

    token_ids: Tensor
    logprobs: DeviceLogprobs | None


class TritonSampler:
    """Logits in, tokens out, on the device that the rows are on.

    Rows are set before they are sampled; what tokens change in them is changed here.
    """

    def __init__(self, rows: SamplingRows, tile: int = TILE) -> None:
        self._rows = rows
        self._tile = tile

    def sample(
        self,
        logits: Tensor,
        row_ids: Tensor,
        row_numbers: Sequence[int] | NDArray[np.int64],
        legal: Legal | None = None,
    ) -> DeviceTokens:
        """One token per row, counted into the rows' state; staged rows are brought over first.

        logits: [n, vocab], float32 or half precision, each row contiguous; left as they are.
        row_ids: int32 [n], on the device, each row at most once, -1 for padding; row_numbers: the
        same on the host, or without padding at the end.
        """
        rows = self._rows
        assert logits.shape == (len(row_ids), rows.vocab_size), "logits do not fit the rows"
        assert logits.stride(1) == 1, "each row of logits must be contiguous"
        rows.flush()
        numbers = np.asarray(row_numbers, dtype=np.int64)
        features = rows.features(numbers)
        tiles = Tiles(len(row_ids), rows.vocab_size, self._tile)
        bits = None if legal is None else _legal_bits(legal, tiles.num_rows, rows.device)
        shaped = shape_logits(logits, row_ids, rows, features, bits, tiles)
        borders = None
        if features & Feature.TRUNCATION:
            borders = find_borders(shaped, row_ids, rows, tiles)
        token_ids = draw_tokens(shaped, borders, row_ids, rows, features, tiles)
        rows.advance(numbers)
        if not features & Feature.LOGPROBS:
            return DeviceTokens(token_ids, None)
        return DeviceTokens(token_ids, self._score(logits, token_ids, numbers))

    def _score(
        self, logits: Tensor, token_ids: Tensor, numbers: NDArray[np.int64]
    ) -> DeviceLogprobs:
        top_n = self._rows.top_n(numbers)
        indices = np.flatnonzero(top_n >= 0)
        counts: list[int] = top_n[indices].tolist()
        places = upload(indices, self._rows.device)
        table = score_rows(logits, places, token_ids[places], max(counts), self._tile)
        return DeviceLogprobs(table, indices.tolist(), counts, len(numbers), self._rows.vocab_size)


def _legal_bits(legal: Legal, num_rows: int, device: torch.device) -> LegalBits:
    """Both parts in a single copy, the second aligned like the first."""
    places, bits = legal
    begin = -(-num_rows // 4) * 4
    packed = np.full(begin + bits.size, -1, dtype=np.int32)
    packed[list(places)] = np.arange(len(places))
    packed[begin:] = bits.reshape(-1)
    staged = upload(packed, device)
    return LegalBits(staged[:num_rows], staged[begin:].view(bits.shape))
