"""The two samplers side by side: kernels over fixed rows, and the stages in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.sampling.sampler import SampledTokens, Sampler
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.triton_sampler import DeviceTokens, Legal, TritonSampler

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class Twins:
    """Sequences in fixed rows. `sample` draws with both samplers and remembers the tokens."""

    vocab_size: int
    num_rows: int
    tile: int = 256
    occupants: dict[int, SamplingRow] = field(default_factory=dict[int, SamplingRow])

    def __post_init__(self) -> None:
        self.rows = SamplingRows(self.num_rows, self.vocab_size, DEVICE)
        self.triton = TritonSampler(self.rows, self.tile)

    def join(self, row: int, occupant: SamplingRow) -> None:
        self.occupants[row] = occupant
        self.rows.set(row, occupant)

    def sample(
        self, logits: Tensor, numbers: Sequence[int], legal: Legal | None = None
    ) -> tuple[DeviceTokens, SampledTokens]:
        """One step of these rows by both. logits: [rows, vocab] on the host."""
        drawn = self.triton.sample(logits.to(DEVICE), row_ids(numbers), numbers, legal)
        expected = self.expected(logits.float(), numbers, legal)
        for number, token_id in zip(numbers, expected.token_ids.tolist(), strict=True):
            occupant = self.occupants[number]
            outputs = [*occupant.output_token_ids, token_id]
            self.occupants[number] = replace(occupant, output_token_ids=outputs)
        return drawn, expected

    def expected(
        self, logits: Tensor, numbers: Sequence[int], legal: Legal | None = None
    ) -> SampledTokens:
        """What the stages in torch make of it, from all that is known of the rows."""
        rows = [self.occupants[number] for number in numbers]
        batch = SamplingBatch.build(rows, self.vocab_size, "cpu")
        if legal is not None:
            batch.restrict(*legal)
        return Sampler().sample(logits, batch)


def row_ids(numbers: Sequence[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32, device=DEVICE)


def legal_bits(rows: Sequence[int], ids: Sequence[Sequence[int]], vocab_size: int) -> Legal:
    """A grammar's masks of some rows of a step."""
    masks: NDArray[np.bool_] = np.zeros((len(rows), -(-vocab_size // 32) * 32), dtype=np.bool_)
    for mask, legal in zip(masks, ids, strict=True):
        mask[list(legal)] = True
    return rows, np.packbits(masks, axis=1, bitorder="little").view("<i4").astype(np.int32)
