"""Has the sampler's kernels compiled before the first request needs them, which would wait for them
with everybody beside it.

Knows which controls are common; others are compiled when they come.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.sampling.sampling_batch import SamplingRow
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.triton_sampler import Legal, TritonSampler
from engine.sampling.upload import num_words
from engine.sampling_params import SamplingParams

_GREEDY = SamplingParams(temperature=0.0)
_TRUNCATED = SamplingParams(temperature=0.8, top_p=0.9)
_COMMON = (
    _GREEDY,
    SamplingParams(),
    SamplingParams(temperature=0.8),
    SamplingParams(top_p=0.9),
    _TRUNCATED,
    SamplingParams(frequency_penalty=0.1),
    SamplingParams(temperature=0.8, top_p=0.9, frequency_penalty=0.1, logprobs=1),
)
_COMMON_WITH_GRAMMAR = (_GREEDY, SamplingParams(), _TRUNCATED)


def compile_common(logits: Tensor) -> None:
    """Draw by all of the common controls.

    logits: `[1, vocab]`, of the device and dtype that all will be of.
    """
    vocab_size = logits.shape[1]
    everything: Legal = ([0], np.full((1, num_words(vocab_size)), -1, dtype=np.int32))
    for params in _COMMON:
        _draw(logits, params, None)
    for params in _COMMON_WITH_GRAMMAR:
        _draw(logits, params, everything)


def _draw(logits: Tensor, params: SamplingParams, legal: Legal | None) -> None:
    rows = SamplingRows(1, logits.shape[1], logits.device)
    rows.set(0, SamplingRow(params, seed=0))
    row_ids = torch.zeros(1, dtype=torch.int32, device=logits.device)
    TritonSampler(rows).sample(logits, row_ids, [0], legal)
