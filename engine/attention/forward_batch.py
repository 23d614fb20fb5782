"""The tensors of one step, built from a StepPlan.

Knows where each token's key and value live and which sequence it belongs to; knows nothing of
models or of how attention is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.scheduling.plan import ScheduledSequence, StepPlan
from engine.scheduling.sequence import Sequence


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """All tokens of one step, sequence after sequence, decodes first.

    Tensors are on the model's device; numpy arrays stay on the host, for planning.
    """

    token_ids: torch.Tensor  # [tokens] int64
    positions: torch.Tensor  # [tokens] int64
    slots: torch.Tensor  # [tokens] int64: block * block_size + offset
    sample_rows: torch.Tensor  # [draws] int64: token whose logits choose the next
    host_positions: np.ndarray  # [tokens] int64
    query_starts: np.ndarray  # [sequences + 1] int64: first token of each sequence
    block_tables: np.ndarray  # [sequences, blocks] int64, padded with block 0
    num_decodes: int  # the first sequences, with one token each


class BlockTables:
    """Block ids of the running sequences, one fixed row each, kept between steps.

    A step only appends what is new; a row is rewritten when its sequence changed hands, which
    shows in the identity of the sequence's `block_ids` list.
    """

    def __init__(self, num_rows: int, blocks_per_row: int) -> None:
        self._table = np.zeros((num_rows, blocks_per_row), dtype=np.int64)
        self._owners: list[list[int] | None] = [None] * num_rows
        self._lengths = [0] * num_rows

    def gather(self, sequences: list[Sequence]) -> np.ndarray:
        """Rows of these sequences, `[sequences, longest]`, zero beyond each one's blocks."""
        rows = [self._update(sequence) for sequence in sequences]
        longest = max(self._lengths[row] for row in rows)
        return self._table[rows, :longest]

    def _update(self, sequence: Sequence) -> int:
        row, block_ids = sequence.row, sequence.block_ids
        assert row is not None, "only running sequences have a row"
        known = self._lengths[row]
        if self._owners[row] is not block_ids:
            self._owners[row] = block_ids
            self._table[row, :known] = 0
            known = 0
        if known != len(block_ids):
            self._table[row, known : len(block_ids)] = block_ids[known:]
            self._lengths[row] = len(block_ids)
        return row


def build_forward_batch(
    plan: StepPlan, tables: BlockTables, block_size: int, device: torch.device
) -> ForwardBatch:
    """Turn a plan into tensors."""
    scheduled = plan.scheduled
    lengths = np.array([item.num_tokens for item in scheduled])
    starts = np.array([item.start for item in scheduled])
    query_starts = np.concatenate(([0], np.cumsum(lengths)))
    within = np.arange(query_starts[-1]) - np.repeat(query_starts[:-1], lengths)
    positions = np.repeat(starts, lengths) + within
    block_tables = tables.gather([item.sequence for item in scheduled])
    owner = np.repeat(np.arange(len(scheduled)), lengths)
    slots = block_tables[owner, positions // block_size] * block_size + positions % block_size
    return ForwardBatch(
        token_ids=torch.tensor(_token_ids(scheduled), dtype=torch.int64, device=device),
        positions=torch.from_numpy(positions).to(device),
        slots=torch.from_numpy(slots).to(device),
        sample_rows=torch.from_numpy(_sample_rows(plan, query_starts[1:])).to(device),
        host_positions=positions,
        query_starts=query_starts,
        block_tables=block_tables,
        num_decodes=plan.num_single,
    )


def _sample_rows(plan: StepPlan, ends: np.ndarray) -> np.ndarray:
    """The last tokens of the sequences that draw, as many of each as it has draws.

    ends: int64 [sequences], the token after each sequence's last.
    """
    draws = np.array([item.num_draws for item in plan.scheduled])
    if plan.num_draws == len(plan.sampling):
        return ends[draws > 0] - 1
    first = np.repeat(
        ends - np.cumsum(draws), draws
    )  # row of a sequence's first draw, less its place
    return first + np.arange(plan.num_draws)


def _token_ids(scheduled: tuple[ScheduledSequence, ...]) -> list[int]:
    ids: list[int] = []
    for item in scheduled:
        stop = item.start + item.num_tokens - len(item.drafts)
        ids += item.sequence.token_ids(item.start, stop)
        ids += item.drafts
    return ids
