"""Log-probabilities of the model's own distribution: log-softmax of the raw logits.

They do not move with temperature, bias, penalties, masks or truncation. Knows nothing of text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_one, fixed_point_weights
from engine.sampling.sampling_batch import SamplingBatch
from engine.types import TokenLogprob

_CHUNK = 1 << 21  # logits scored at once; bounds the scratch memory


def sampled_logprobs(
    logits: Tensor, token_ids: Tensor, batch: SamplingBatch
) -> list[TokenLogprob | None] | None:
    """Score the chosen tokens of the rows that ask; None when none does.

    logits: float32 [rows, vocab], as the model made them; token_ids: int64 [rows].
    """
    part = batch.logprobs
    if part is None:
        return None
    if part.rows is not None:
        logits, token_ids = logits[part.rows], token_ids[part.rows]
    scores: list[TokenLogprob | None] = [None] * batch.num_rows
    for index, score in zip(part.indices, _score(logits, token_ids, part.top_n), strict=True):
        scores[index] = score
    return scores


def prompt_logprobs(logits: Tensor, target_ids: Tensor, top_n: int) -> list[TokenLogprob]:
    """Score the token that follows each position.

    logits: float32 [positions, vocab]; target_ids: int64 [positions], on the same device.
    """
    chunk = max(1, _CHUNK // logits.shape[-1])
    return [
        score
        for rows, targets in zip(logits.split(chunk), target_ids.split(chunk), strict=True)
        for score in _score(rows, targets, [top_n] * len(targets))
    ]


def _score(logits: Tensor, token_ids: Tensor, top_n: Sequence[int]) -> list[TokenLogprob]:
    """One entry per row. All that leaves the device leaves it in a single copy."""
    vocab_size = logits.shape[-1]
    width = min(max(top_n, default=0), vocab_size)
    top_ids = _best_ids(logits, width)
    columns = (
        logits.amax(dim=-1, keepdim=True),
        fixed_point_weights(logits, vocab_size).sum(dim=-1, keepdim=True),
        token_ids.unsqueeze(1),
        logits.gather(1, token_ids.unsqueeze(1)),
        top_ids,
        logits.gather(1, top_ids),
    )
    table = torch.cat([column.to(torch.float64) for column in columns], dim=1).tolist()
    one = fixed_point_one(vocab_size)
    return [_entry(row, width, count, one) for row, count in zip(table, top_n, strict=True)]


def _entry(row: list[float], width: int, count: int, one: int) -> TokenLogprob:
    largest, total, token_id, logit = row[:4]
    ids, values = row[4 : 4 + width], row[4 + width :]
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
