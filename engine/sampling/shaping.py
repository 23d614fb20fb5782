"""Stages 4 to 7: temperature, top-k, top-p, min-p, in that order.

The order is a contract: top-k and min-p commute, top-p commutes with neither. Greedy rows pass
through untouched. A truncated token becomes -inf; the rest need no renormalizing, for everything
after works on ratios.

Each function takes float32 logits [rows, vocab], may change them in place, and returns the result.
No float is summed here (see `fixed_point`), so a row comes out the same in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_weights
from engine.sampling.row_parts import RowValues
from engine.sampling.sampling_batch import SamplingBatch

_FIRST_WIDTH = 128  # candidates that top-p looks at first
_WIDEN = 16


def temperature(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Divide by the row's temperature."""
    return _on_rows(logits, batch.temperature, torch.Tensor.div_)


def top_k(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Keep exactly the k best; of equal ones at the border, those with lower ids."""
    part = batch.top_k
    if part is None:
        return logits
    width = int(part.largest) + 1  # one more, to see whether the border is tied

    def truncate(z: Tensor, count: Tensor) -> Tensor:
        return _keep_best(z, z.topk(width, dim=-1).values, count)

    return _on_rows(logits, part, truncate)


def top_p(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Keep the smallest set of best tokens whose mass reaches p of what is left; at least one."""
    return _on_rows(logits, batch.top_p, _nucleus)


def min_p(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Keep tokens at least `min_p` times as likely as the best (https://arxiv.org/abs/2407.01082).

    The row's value is log(min_p): the comparison needs no probabilities.
    """

    def truncate(z: Tensor, log_min_p: Tensor) -> Tensor:
        floor = z.amax(dim=-1, keepdim=True) + log_min_p
        return z.masked_fill_(z < floor, -math.inf)

    return _on_rows(logits, batch.min_p, truncate)


def _on_rows(
    logits: Tensor, part: RowValues | None, change: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Change only the rows that use the feature; `change` may work in place."""
    if part is None:
        return logits
    if part.rows is None:
        return change(logits, part.values)
    return logits.index_copy_(0, part.rows, change(logits[part.rows], part.values))


def _keep_best(z: Tensor, best: Tensor, count: Tensor) -> Tensor:
    """Keep the `count` [rows, 1] best tokens, of equal ones at the border those with lower ids.

    best: each row's largest values, descending; more than the largest count, or all there are.
    """
    border = best.gather(1, count - 1)
    dropped = z < border
    # Ties are resolved where there are any: on a GPU everywhere, for looking waits for the device.
    if z.is_cuda:
        dropped |= _surplus(z, border, count)
    else:
        following = best.gather(1, count.clamp(max=best.shape[-1] - 1))
        tied = _row_numbers((following == border) & (border > -math.inf))
        if len(tied):
            dropped[tied] |= _surplus(z[tied], border[tied], count[tied])
    return z.masked_fill_(dropped, -math.inf)


def _surplus(z: Tensor, border: Tensor, count: Tensor) -> Tensor:
    """Tokens equal to the border for which `count` leaves no room."""
    ties = z == border
    room = count - (z > border).sum(dim=-1, keepdim=True)
    return ties & (ties.cumsum(dim=-1) > room)


def _nucleus(z: Tensor, mass: Tensor, width: int = _FIRST_WIDTH) -> Tensor:
    """Keep the best tokens whose weights reach `mass` [rows, 1] of their row's total.

    On a CPU it looks among the `width` best, and among more for the rows where these do not
    suffice: most distributions are narrow, and sorting a whole vocabulary is slow.
    """
    vocab_size = z.shape[-1]
    width = vocab_size if z.is_cuda else min(width, vocab_size)
    best = z.topk(width, dim=-1).values
    reached = fixed_point_weights(best, vocab_size).cumsum_(dim=-1)
    total = reached[:, -1:]
    if width < vocab_size:
        unseen = _row_numbers(best[:, -1:] > -math.inf)
        if len(unseen):
            weights = fixed_point_weights(z[unseen], vocab_size)
            total = total.index_copy(0, unseen, weights.sum(dim=-1, keepdim=True))
    target = (total * mass).ceil_().to(torch.int64).clamp_(min=1).minimum(total)
    count = (reached < target).sum(dim=-1, keepdim=True) + 1
    # The crossing, or a token tied with it, may lie beyond the candidates.
    beyond = count >= width
    count = count.clamp_(max=width)  # past the end only in rows of NaN
    if width < vocab_size:
        wider = _row_numbers(beyond)
        if len(wider):
            widened = _nucleus(z[wider], mass[wider], width * _WIDEN)
            return _keep_best(z, best, count).index_copy_(0, wider, widened)
    return _keep_best(z, best, count)


def _row_numbers(chosen: Tensor) -> Tensor:
    """Indices of the rows where `chosen` (bool [rows, 1]) holds. Waits for the device."""
    return chosen.squeeze(1).nonzero().squeeze(1)
