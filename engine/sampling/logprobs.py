"""Log-probabilities of the model's own distribution: log-softmax of the raw logits.

They do not move with temperature, bias, penalties, masks or truncation. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from engine.sampling.logprob_table import read_table, score_table
from engine.sampling.sampling_batch import SamplingBatch
from engine.types import TokenLogprob

MakeTable = Callable[[Tensor, Tensor, int], Tensor]
"""As `score_table`, which see."""

_CHUNK = 1 << 21  # logits scored at once; bounds the scratch memory


def sampled_logprobs(
    logits: Tensor,
    token_ids: Tensor,
    batch: SamplingBatch,
    make_table: MakeTable = score_table,
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
    found = _score(logits, token_ids, part.top_n, make_table)
    for index, score in zip(part.indices, found, strict=True):
        scores[index] = score
    return scores


def prompt_logprobs(
    logits: Tensor, target_ids: Tensor, top_n: int, make_table: MakeTable = score_table
) -> list[TokenLogprob]:
    """Score the token that follows each position.

    logits: float32 [positions, vocab]; target_ids: int64 [positions], on the same device.
    """
    chunk = max(1, _CHUNK // logits.shape[-1])
    return [
        score
        for rows, targets in zip(logits.split(chunk), target_ids.split(chunk), strict=True)
        for score in _score(rows, targets, [top_n] * len(targets), make_table)
    ]


def _score(
    logits: Tensor, token_ids: Tensor, top_n: Sequence[int], make_table: MakeTable
) -> list[TokenLogprob]:
    """One entry per row. All that leaves the device leaves it in a single copy."""
    table = make_table(logits, token_ids, max(top_n, default=0))
    return read_table(table, top_n, logits.shape[-1])
