"""Log-probabilities in two halves: a table made on the device, and entries read from it.

In between lies one copy, which whoever runs ahead of the device makes when it pleases. Knows
nothing of batches, of sampling parameters or of text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_one, fixed_point_weights
from engine.types import TokenLogprob

_FIXED_COLUMNS = 4  # the largest logit, the sum of weights, the token, its logit


def score_table(logits: Tensor, token_ids: Tensor, width: int) -> Tensor:
    """What the device knows of these tokens and of the `width` best of each row.

    logits: float32 [rows, vocab], as the model made them; token_ids: int64 [rows].
    Returns float64 [rows, 4 + 2 * width]. Does not wait for the device, unless that is a CPU.
    """
    vocab_size = logits.shape[-1]
    top_ids = _best_ids(logits, min(width, vocab_size))
    columns = (
        logits.amax(dim=-1, keepdim=True),
        fixed_point_weights(logits, vocab_size).sum(dim=-1, keepdim=True),
        token_ids.unsqueeze(1),
        logits.gather(1, token_ids.unsqueeze(1)),
        top_ids,
        logits.gather(1, top_ids),
    )
    return torch.cat([column.to(torch.float64) for column in columns], dim=1)


def read_table(table: Tensor, top_n: Sequence[int], vocab_size: int) -> list[TokenLogprob]:
    """One entry per row, with as many alternatives as `top_n` says.

    table: as `score_table` makes it; a copy of it on the host, unless waiting is no matter.
    """
    one = fixed_point_one(vocab_size)
    return [_entry(row, count, one) for row, count in zip(table.tolist(), top_n, strict=True)]


@dataclass(frozen=True, slots=True)
class DeviceLogprobs:
    """The scores of one step, still on the device.

    table: float64 [rows that ask, columns], on the device; indices, top_n: those rows' places in
    the step, and how many alternatives each wants; num_rows: of the step.
    """

    table: Tensor
    indices: list[int]
    top_n: list[int]
    num_rows: int
    vocab_size: int

    def entries(self, table: Tensor) -> list[TokenLogprob | None]:
        """One entry per row of the step, None for rows that did not ask.

        table: a copy of `self.table` on the host.
        """
        scores: list[TokenLogprob | None] = [None] * self.num_rows
        found = read_table(table, self.top_n, self.vocab_size)
        for index, score in zip(self.indices, found, strict=True):
            scores[index] = score
        return scores


def _entry(row: list[float], count: int, one: int) -> TokenLogprob:
    largest, total, token_id, logit = row[:_FIXED_COLUMNS]
    width = (len(row) - _FIXED_COLUMNS) // 2
    ids, values = row[_FIXED_COLUMNS:][:width], row[_FIXED_COLUMNS + width :]
    normalizer = largest + math.log(max(total / one, 1.0))  # below 1 only in a row of NaN
    top = tuple(
        (int(top_id), value - normalizer)
        for top_id, value in zip(ids[:count], values[:count], strict=True)
    )
    return TokenLogprob(token_id=int(token_id), logprob=logit - normalizer, top=top)


def _best_ids(logits: Tensor, width: int) -> Tensor:
    """The `width` best ids of each row, best first, lower ids first among equals."""
    if width == 0:
        return torch.empty((len(logits), 0), dtype=torch.int64, device=logits.device)
    if logits.is_cuda:  # looking for ties would wait for the device
        return _best_ids_with_ties(logits, width)
    best, ids = logits.topk(min(width + 1, logits.shape[-1]), dim=-1)
    ids = ids[:, :width]
    tied = (best[:, 1:] == best[:, :-1]).any(dim=-1).nonzero().squeeze(1)
    return ids.index_copy(0, tied, _best_ids_with_ties(logits[tied], width)) if len(tied) else ids


def _best_ids_with_ties(logits: Tensor, width: int) -> Tensor:
    """As above. `topk` leaves the order of equal values open, so it is given keys without equals:
    the logit's bits, arranged to sort as integers, above the negated id."""
    bits = (logits + 0.0).view(torch.int32)  # adding 0 turns -0.0 into 0.0, its equal
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    ids = torch.arange(logits.shape[-1], device=logits.device)
    return ((ordered.to(torch.int64) << 32) - ids).topk(width, dim=-1).indices
