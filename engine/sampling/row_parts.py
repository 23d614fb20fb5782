"""Per-row parameters as tensors, one small part per feature, holding only the rows that use it.

A feature that no row uses has no part (None), and its stage does nothing. Rows outside a part are
never touched by its stage, so a row cannot feel what its neighbours ask for.

Knows nothing of what the stages do with the values.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RowValues:
    """One value per row that uses a feature.

    rows: int64 [n], or None when all rows use it; values: [n, 1]; largest: their maximum.
    """

    rows: Tensor | None
    values: Tensor
    largest: float


@dataclass(frozen=True, slots=True)
class Entries:
    """Single places of the logits. places: int64 [n] into the flattened logits; values: [n]."""

    places: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class AllowedIds:
    """Rows restricted to some ids. rows: int64 [n]; places: int64 [n, width] into the flattened
    logits, padded by repeating a row's own first place."""

    rows: Tensor
    places: Tensor


@dataclass(frozen=True, slots=True)
class LegalBits:
    """Rows whose legal ids come as bits. rows: int64 [n], or None for all; bits: uint8 [n, bytes],
    the bit of id i being bit i % 8 of byte i // 8."""

    rows: Tensor | None
    bits: Tensor


@dataclass(frozen=True, slots=True)
class BannedEnds:
    """Ids that may not be drawn yet. places: int64 [n] into the flattened logits; until: int64
    [n], the step (counted from the batch's building) at which the ban ends; last: its maximum."""

    places: Tensor
    until: Tensor
    last: int


@dataclass(frozen=True, slots=True)
class LogprobRows:
    """Rows that report log-probabilities. rows: int64 [n], or None for all; indices: the same as
    a list; top_n: how many alternatives each wants."""

    rows: Tensor | None
    indices: list[int]
    top_n: list[int]


def row_values(
    values: Sequence[float | None], dtype: torch.dtype, device: torch.device
) -> RowValues | None:
    """Gather the rows whose value is not None."""
    used = [index for index, value in enumerate(values) if value is not None]
    if not used:
        return None
    chosen = [value for value in values if value is not None]
    return RowValues(
        rows=row_index(used, len(values), device),
        values=torch.tensor(chosen, dtype=dtype, device=device).unsqueeze(1),
        largest=max(chosen),
    )


def bias_entries(
    biases: Sequence[dict[int, float]], vocab_size: int, device: torch.device
) -> Entries | None:
    """Gather what each row adds to which logit."""
    places = _places(biases, vocab_size)
    if not places:
        return None
    values = [value for bias in biases for value in bias.values()]
    return Entries(
        places=torch.tensor(places, dtype=torch.int64, device=device),
        values=torch.tensor(values, dtype=torch.float32, device=device),
    )


def allowed_ids(
    allowed: Sequence[Collection[int] | None], vocab_size: int, device: torch.device
) -> AllowedIds | None:
    """Gather the rows that may draw only from a given set."""
    used = [(row, list(ids)) for row, ids in enumerate(allowed) if ids is not None]
    if not used:
        return None
    width = max(len(ids) for _, ids in used)
    padded = [ids + ids[:1] * (width - len(ids)) for _, ids in used]
    rows = torch.tensor([row for row, _ in used], dtype=torch.int64, device=device)
    ids = torch.tensor(padded, dtype=torch.int64)
    assert 0 <= int(ids.min()) <= int(ids.max()) < vocab_size, "id not in vocabulary"
    return AllowedIds(rows=rows, places=ids.to(device) + rows.unsqueeze(1) * vocab_size)


def legal_bits(
    rows: Sequence[int], bits: NDArray[np.int32], num_rows: int, device: torch.device
) -> LegalBits:
    """The masks of some rows. bits: int32 [n, words], id i being bit i % 32 of word i // 32."""
    return LegalBits(
        rows=row_index(list(rows), num_rows, device),
        bits=torch.from_numpy(bits.astype("<i4", copy=False).view(np.uint8)).to(device),
    )


def banned_ends(
    ends: Sequence[Collection[int]],
    steps: Sequence[int],
    vocab_size: int,
    device: torch.device,
) -> BannedEnds | None:
    """Gather the ids that each row must not draw during its next `steps` steps."""
    banned = [ids if left > 0 else () for ids, left in zip(ends, steps, strict=True)]
    places = _places(banned, vocab_size)
    if not places:
        return None
    until = [left for ids, left in zip(banned, steps, strict=True) for _ in ids]
    return BannedEnds(
        places=torch.tensor(places, dtype=torch.int64, device=device),
        until=torch.tensor(until, dtype=torch.int64, device=device),
        last=max(until),
    )


def logprob_rows(top_n: Sequence[int | None], device: torch.device) -> LogprobRows | None:
    """Gather the rows that ask for log-probabilities."""
    used = [index for index, count in enumerate(top_n) if count is not None]
    if not used:
        return None
    counts = [count for count in top_n if count is not None]
    return LogprobRows(rows=row_index(used, len(top_n), device), indices=used, top_n=counts)


def row_index(used: list[int], num_rows: int, device: torch.device) -> Tensor | None:
    """The used rows as an index tensor; None when that is all of them (no gather needed)."""
    if len(used) == num_rows:
        return None
    return torch.tensor(used, dtype=torch.int64, device=device)


def _places(ids_of_rows: Sequence[Collection[int]], vocab_size: int) -> list[int]:
    places: list[int] = []
    for row, ids in enumerate(ids_of_rows):
        assert all(0 <= token_id < vocab_size for token_id in ids), "id not in vocabulary"
        places.extend(row * vocab_size + token_id for token_id in ids)
    return places
