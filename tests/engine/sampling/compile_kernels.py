"""A program that compiles the sampler's kernels for Hopper; it prints a line for each, in JSON."""

from __future__ import annotations

import numpy as np
import torch

from engine.sampling.sampling_batch import SamplingRow
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.triton_sampler import Legal, TritonSampler
from engine.sampling_params import SamplingParams
from tests.triton_compiler import compiling, report

VOCAB = 50_257

EVERYTHING = SamplingParams(
    temperature=0.7,
    top_k=40,
    top_p=0.9,
    min_p=0.01,
    frequency_penalty=0.5,
    repetition_penalty=1.1,
    logit_bias={7: 1.0},
    allowed_token_ids=(5, 7, 9),
    min_tokens=4,
    logprobs=5,
)
GRAMMAR: Legal = ([0], np.zeros((1, -(-VOCAB // 32)), dtype=np.int32))


def launch(params: SamplingParams, dtype: torch.dtype, legal: Legal | None = None) -> None:
    """One step of two rows."""
    rows = SamplingRows(4, VOCAB, "cpu")
    for row in range(2):
        rows.set(row, SamplingRow(params, row, [1], [2], end_token_ids=[3]))
    logits = torch.zeros((2, VOCAB), dtype=dtype)
    row_ids = torch.arange(2, dtype=torch.int32)
    TritonSampler(rows).sample(logits, row_ids, [0, 1], legal)


if __name__ == "__main__":
    with compiling() as kernels:
        launch(SamplingParams(temperature=0.0), torch.bfloat16)
        launch(SamplingParams(), torch.float32)
        launch(EVERYTHING, torch.bfloat16, GRAMMAR)
    report(kernels)
