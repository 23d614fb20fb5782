"""What the sampler needs to know of every running sequence, in tables on the device.

The counterpart of `SamplingBatch` where the host launches a step before it has read the tokens of
the one before: a sequence keeps its row while it runs, the host writes the row once, and all that
generated tokens change is changed by kernels. Beside the tables the host keeps which features a
row uses, so that a kernel that no row needs is not launched.

Knows nothing of the stages' arithmetic, of scheduling, or of where logits come from.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.sampling.penalty_rows import PenaltyRows
from engine.sampling.row_lists import RowLists
from engine.sampling.sampling_batch import (
    FOREVER,
    SamplingRow,
    bannable_ends,
    row_log_min_p,
    row_temperature,
    row_top_k,
    row_top_p,
)
from engine.sampling.upload import num_words, pack_bits, upload
from engine.sampling_params import SamplingParams

_NUM_INTEGERS = 7
_NUM_REALS = 6


class Feature(enum.IntFlag):
    """What a row asks of the sampler beyond an argmax."""

    PENALTIES = enum.auto()
    LOGIT_BIAS = enum.auto()
    ALLOWED_IDS = enum.auto()
    BANNED_ENDS = enum.auto()
    TEMPERATURE = enum.auto()  # one that is neither 1 nor greedy
    TRUNCATION = enum.auto()  # top-k or top-p
    DRAW = enum.auto()
    LOGPROBS = enum.auto()


class SamplingRows:
    """Tables on the device with one entry per row.

    seed, num_generated, top_k, min_tokens, num_biases, num_bans, restricted
                 int64 [rows]: the seed's 64 bits; the tokens so far, the position of the next
                 uniform; 0 where off; the number of tokens with which the ban ends; the lengths
                 of the lists; whether `allowed_bits` binds the row
    temperature, top_p, log_min_p, frequency, presence, repetition
                 float64 [rows]: 0 in greedy rows; 1 where off; -inf where off; the penalties
    biases, bans the lists: what to add to which logit, and the ids banned at first
    penalties    counts of tokens
    allowed_bits int32 [rows, words], bit i % 32 of word i // 32 for id i; None until a row is
                 restricted

    The columns are views of one table, `stride` entries apart from row to row.
    """

    def __init__(self, num_rows: int, vocab_size: int, device: torch.device | str) -> None:
        self.vocab_size = vocab_size
        self.device = torch.device(device)
        self.stride = _NUM_INTEGERS + _NUM_REALS
        shape = (num_rows, self.stride)
        self._table = torch.zeros(shape, dtype=torch.int64, device=self.device)
        # In the order of `_integers` and `_reals`.
        (
            self.seed,
            self.num_generated,
            self.top_k,
            self.min_tokens,
            self.num_biases,
            self.num_bans,
            self.restricted,
        ) = self._table[:, :_NUM_INTEGERS].unbind(1)
        (
            self.temperature,
            self.top_p,
            self.log_min_p,
            self.frequency,
            self.presence,
            self.repetition,
        ) = self._table.view(torch.float64)[:, _NUM_INTEGERS:].unbind(1)
        self.penalties = PenaltyRows(num_rows, vocab_size, self.device)
        self.biases = RowLists(num_rows, self.device)
        self.bans = RowLists(num_rows, self.device)
        self.allowed_bits: Tensor | None = None
        self._staged: dict[int, NDArray[np.int64]] = {}
        self._staged_bits: dict[int, NDArray[np.int32]] = {}
        # One entry more than rows: padding has the number -1, and asks for nothing.
        self._features = np.zeros(num_rows + 1, dtype=np.int64)
        self._min_tokens = np.zeros(num_rows + 1, dtype=np.int64)
        self._num_generated = np.zeros(num_rows + 1, dtype=np.int64)
        self._top_n = np.full(num_rows + 1, -1, dtype=np.int64)

    def set(self, row: int, occupant: SamplingRow) -> None:
        """Stage a new occupant of a row; nothing of the one before stays.

        Asserts that all ids lie inside the vocabulary.
        """
        params, num_generated = occupant.params, len(occupant.output_token_ids)
        early = num_generated < params.min_tokens
        bans = sorted(set(bannable_ends(occupant))) if early else []
        biases, allowed = params.logit_bias, params.allowed_token_ids
        for ids in (bans, biases, allowed or ()):
            self._check(ids)
        integers = _integers(occupant, len(bans), self.vocab_size)
        self._staged[row] = np.concatenate(([row], integers, _reals(params).view(np.int64)))
        if biases:
            self.biases.stage(row, list(biases), list(biases.values()))
        if bans:
            self.bans.stage(row, bans)
        if allowed is not None:
            self._staged_bits[row] = pack_bits(allowed, self.vocab_size)
        if params.uses_penalties:
            self._stage_history(row, occupant)
        self._features[row] = _features(params, bool(bans), self.vocab_size)
        self._min_tokens[row] = min(params.min_tokens, FOREVER)
        self._num_generated[row] = num_generated
        self._top_n[row] = -1 if params.logprobs is None else params.logprobs

    def flush(self) -> None:
        """Bring all staged rows to the device: one copy of some hundred bytes a row, and one for
        each feature in use that takes more. The host waits for none of them."""
        if not self._staged:
            return
        staged = upload(np.stack(list(self._staged.values())), self.device)
        self._table.index_copy_(0, staged[:, 0], staged[:, 1:])
        self._staged.clear()
        self.biases.flush()
        self.bans.flush()
        self.penalties.flush()
        self._flush_bits()

    def features(self, numbers: NDArray[np.int64]) -> Feature:
        """What these rows (-1 for padding) need in their next step, all together."""
        features = int(np.bitwise_or.reduce(self._features[numbers], initial=0))
        if not (self._num_generated[numbers] < self._min_tokens[numbers]).any():
            features &= ~Feature.BANNED_ENDS
        return Feature(features)

    def advance(self, numbers: NDArray[np.int64]) -> None:
        """A step in which these rows generate one token each has been launched."""
        self._num_generated[numbers] += 1

    def top_n(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many alternatives each row wants to see, -1 where not even the chosen one's score."""
        return self._top_n[numbers]

    def _stage_history(self, row: int, occupant: SamplingRow) -> None:
        repeats = occupant.params.repetition_penalty != 1
        prompt, output = occupant.prompt_token_ids, occupant.output_token_ids
        self._check(output)
        if repeats:
            self._check(prompt)
        self.penalties.stage(row, prompt if repeats else None, output)

    def _flush_bits(self) -> None:
        if not self._staged_bits:
            return
        if self.allowed_bits is None:
            shape = (self._table.shape[0], num_words(self.vocab_size))
            self.allowed_bits = torch.zeros(shape, dtype=torch.int32, device=self.device)
        rows = upload(np.fromiter(self._staged_bits, dtype=np.int64), self.device)
        bits = upload(np.stack(list(self._staged_bits.values())), self.device)
        self.allowed_bits.index_copy_(0, rows, bits)
        self._staged_bits.clear()

    def _check(self, ids: Sequence[int] | dict[int, float]) -> None:
        inside = not ids or (min(ids) >= 0 and max(ids) < self.vocab_size)
        assert inside, "id not in vocabulary"


def _integers(occupant: SamplingRow, num_bans: int, vocab_size: int) -> NDArray[np.int64]:
    params = occupant.params
    values = (
        _signed(occupant.seed),
        len(occupant.output_token_ids),
        row_top_k(params, vocab_size) or 0,
        min(params.min_tokens, FOREVER),
        len(params.logit_bias),
        num_bans,
        params.allowed_token_ids is not None,
    )
    return np.array(values, dtype=np.int64)


def _reals(params: SamplingParams) -> NDArray[np.float64]:
    top_p, log_min_p = row_top_p(params), row_log_min_p(params)
    values = (
        0.0 if params.greedy else row_temperature(params) or 1.0,
        1.0 if top_p is None else top_p,
        -math.inf if log_min_p is None else log_min_p,
        params.frequency_penalty,
        params.presence_penalty,
        params.repetition_penalty,
    )
    return np.array(values, dtype=np.float64)


def _features(params: SamplingParams, bans: bool, vocab_size: int) -> Feature:
    used = {
        Feature.PENALTIES: params.uses_penalties,
        Feature.LOGIT_BIAS: bool(params.logit_bias),
        Feature.ALLOWED_IDS: params.allowed_token_ids is not None,
        Feature.BANNED_ENDS: bans,
        Feature.TEMPERATURE: row_temperature(params) is not None,
        Feature.TRUNCATION: (row_top_k(params, vocab_size), row_top_p(params)) != (None, None),
        Feature.DRAW: not params.greedy,
        Feature.LOGPROBS: params.logprobs is not None,
    }
    return Feature(sum(feature for feature, applies in used.items() if applies))


def _signed(seed: int) -> int:
    """A 64-bit seed, signed or not, as the signed integer of the same bits."""
    return ((seed & (2**64 - 1)) ^ 2**63) - 2**63
