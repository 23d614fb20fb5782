"""The compiled draw and scores against the stages in torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.native.build import built_library
from engine.native.kernels import Kernels
from engine.sampling.logprob_table import score_table
from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import Sampler
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import SamplingParams
from tests.engine.sampling.oracle import random_logits
from tests.engine.sampling.test_sampler import mixed_rows

needs_compiler = pytest.mark.skipif(built_library() is None, reason="needs a C++ compiler")


@pytest.mark.parametrize("steps", [1, 2, 16])
@pytest.mark.parametrize("vocab_size", [100, 257, 4099, 50_257])
def test_draws_what_the_stages_draw(kernels: Kernels, vocab_size: int, steps: int) -> None:
    """`steps` to a unit: with few of them logits are equal in crowds, at every border."""
    rows = mixed_rows(vocab_size)
    for seed in range(3):
        z = (random_logits(len(rows), vocab_size, seed, scale=2.5) * steps).round() / steps
        ours, theirs = (
            sampler.sample(z, SamplingBatch.build(rows, vocab_size, "cpu"))
            for sampler in (NativeSampler(kernels), Sampler())
        )
        assert torch.equal(ours.token_ids, theirs.token_ids)
        assert ours.logprobs is not None and theirs.logprobs is not None
        for one, other in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert one.logprob == pytest.approx(other.logprob, abs=1e-6)
                assert [token for token, _ in one.top] == [token for token, _ in other.top]


@st.composite
def params(draw: st.DrawFn) -> SamplingParams:
    chosen: dict[str, Any] = {
        "temperature": draw(st.sampled_from([0.0, 0.01, 0.5, 1.0, 2.0])),
        "top_k": draw(st.sampled_from([0, 1, 2, 7, 1000])),
        "top_p": draw(st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.99, 1.0 - 1e-12, 1.0])),
        "min_p": draw(st.sampled_from([0.0, 1e-6, 0.3, 1.0])),
    }
    return SamplingParams(**chosen)


LOGITS = st.one_of(
    st.floats(-50, 50, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -math.inf, -1e30, 3e4, math.nan]),
)


@needs_compiler
@settings(max_examples=300, deadline=None)
@given(
    st.lists(LOGITS, min_size=1, max_size=40),
    st.sampled_from([0, 1500]),
    params(),
    st.integers(0, 2**32),
    st.integers(0, 40),
)
def test_whatever_the_logits_are(
    logits: list[float], far: int, chosen: SamplingParams, seed: int, width: int
) -> None:
    """Few tokens among many `far` ones are found in another way than when they are most of all."""
    logits = logits + [-70.0] * far
    library = built_library()
    assert library is not None
    kernels = Kernels(library)
    z = torch.tensor([logits])
    batch = SamplingBatch.build([SamplingRow(chosen, seed)], len(logits), "cpu")
    token = int(NativeSampler(kernels).sample(z, batch).token_ids)
    assert 0 <= token < len(logits)
    if any(map(math.isnan, logits)) or not any(map(math.isfinite, logits)):
        kernels.score(z, torch.tensor([0]), width)  # what it says is nothing, but it ends
        return
    assert token == int(Sampler().sample(z, batch).token_ids)
    ids = torch.tensor([len(logits) - 1])
    got, want = kernels.score(z, ids, width), score_table(z, ids, width)
    assert got.shape == want.shape
    torch.testing.assert_close(got[:, 1], want[:, 1], rtol=1e-6, atol=0)
    got[:, 1] = want[:, 1]
    assert torch.equal(got, want)


def test_no_row_is_fine_too(kernels: Kernels) -> None:
    none = torch.empty(0)
    drawn = kernels.draw(
        torch.empty(0, 10),
        temperature=none,
        top_k=none.long(),
        top_p=none.double(),
        log_min_p=none,
        uniform=none.double(),
    )
    assert drawn.shape == (0,)
    assert kernels.score(torch.empty(0, 10), none.long(), 3).shape == (0, 10)
