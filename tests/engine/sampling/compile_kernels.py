"""A program that compiles the sampler's kernels for Hopper; it prints a line for each, in JSON."""

from __future__ import annotations

import numpy as np
import torch

from engine.sampling.sampling_batch import SamplingRow
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.triton_sampler import Legal, TritonSampler
from engine.sampling.triton_warm_up import compile_common
from engine.sampling_params import SamplingParams
from tests.triton_compiler import Compiled, compiling, report

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
USUAL = (
    SamplingParams(temperature=0.0),
    SamplingParams(),
    SamplingParams(temperature=0.7, top_k=20, top_p=0.8, seed=5),
    SamplingParams(temperature=0.6, min_p=0.05),
    SamplingParams(temperature=0.0, logprobs=0),
    SamplingParams(temperature=0.7, top_k=20, top_p=0.95, presence_penalty=1.5),
    SamplingParams(logprobs=16),
)
"""What is compiled before anybody asks for it."""
GRAMMAR: Legal = ([0], np.zeros((1, -(-VOCAB // 32)), dtype=np.int32))


def launch(
    params: SamplingParams, dtype: torch.dtype, legal: Legal | None = None, *, rows: SamplingRows
) -> None:
    """One step of two rows."""
    for row in range(2):
        rows.set(row, SamplingRow(params, row, [1], [2], end_token_ids=[3]))
    logits = torch.zeros((2, VOCAB), dtype=dtype)
    row_ids = torch.arange(2, dtype=torch.int32)
    TritonSampler(rows).sample(logits, row_ids, [0, 1], legal)


def launch_usual(kernels: list[Compiled], rows: SamplingRows) -> None:
    """Of what is usual nothing is compiled any more."""
    known = len(kernels)
    for params in USUAL:
        launch(params, torch.bfloat16, rows=rows)
    for params in USUAL[:3]:
        launch(params, torch.bfloat16, GRAMMAR, rows=rows)
    assert len(kernels) == known, [kernel.name for kernel in kernels[known:]]


if __name__ == "__main__":
    fresh, used = SamplingRows(4, VOCAB, "cpu"), SamplingRows(4, VOCAB, "cpu")
    with compiling() as kernels:
        compile_common(torch.zeros((1, VOCAB), dtype=torch.bfloat16))
        launch_usual(kernels, fresh)
        launch(EVERYTHING, torch.bfloat16, GRAMMAR, rows=used)
        launch_usual(kernels, used)
        launch(SamplingParams(), torch.float32, rows=fresh)
    report(kernels)
