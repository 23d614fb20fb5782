"""Processors that can do less than this one: the same kernels, compiled for them."""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path

import pytest
import torch

from engine.attention.cpu import CpuAttention
from engine.attention.native import NativeAttention
from engine.models.spec import load_spec
from engine.models.weights import load_decoder, load_native_decoder
from engine.native.build import built_library, compile_library
from engine.native.kernels import Kernels
from engine.native.prebuilt import LEVELS
from engine.native.processor import processor_flags
from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import Sampler
from engine.sampling.sampling_batch import SamplingBatch
from tests.engine.models.attention_doubles import CPU, PagedRunner
from tests.engine.sampling.oracle import random_logits
from tests.engine.sampling.test_sampler import mixed_rows
from tests.tiny_models import Family, make_tiny_model

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or built_library() is None, reason="needs a compiler for x86-64"
)
ANY: tuple[tuple[str, ...], set[str]] = (("-march=x86-64",), set())
V3, needed_by_v3 = LEVELS["v3"]
SOME_UNFUSED = ("-mtune=znver1",)
"""For these GCC would make sums of products with one rounding or two, by the code around them."""
HEAD_DIM = 16


@pytest.fixture(
    scope="module",
    params=[ANY, ((*V3, *SOME_UNFUSED), needed_by_v3), LEVELS["v4"]],
    ids=["four at a time", "eight at a time", "sixteen, but no bfloat16"],
)
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    flags, needed = request.param
    if not needed <= processor_flags():
        pytest.skip("this processor has no such vectors")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    compile_library(library, (*flags, f"-DDIGLOT_HEAD_DIM={HEAD_DIM}"))
    return Kernels(library)


@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_a_model_is_as_in_torch(narrow: Kernels, family: Family, tmp_path: Path) -> None:
    make_tiny_model(tmp_path, family, head_dim=HEAD_DIM)
    spec = load_spec(tmp_path)
    length, ids = spec.max_position_embeddings, [(7 * n) % 256 for n in range(90)]
    plain = load_decoder(
        tmp_path, spec, dtype=torch.float32, device=CPU, max_model_len=length, batch_invariant=True
    )
    want = plain.logits(PagedRunner(plain, spec, CpuAttention).run(ids))
    for dtype, int8, error in (
        (torch.float32, False, 1e-5),
        (torch.bfloat16, False, 0.02),
        (torch.float32, True, 0.03),
        (torch.bfloat16, True, 0.04),
    ):
        decoder = load_native_decoder(
            tmp_path, spec, narrow, dtype=dtype, max_model_len=length, int8=int8
        )
        runner = PagedRunner(decoder, spec, partial(NativeAttention, narrow), dtype)
        got = decoder.logits(torch.cat([runner.run(ids[:70]), runner.run(ids[70:])]))
        assert (got - want).square().mean().sqrt() < error * want.std(), (dtype, int8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_in_any_chunking(
    narrow: Kernels, dtype: torch.dtype, tmp_path: Path
) -> None:
    make_tiny_model(tmp_path, head_dim=HEAD_DIM)
    spec = load_spec(tmp_path)
    decoder = load_native_decoder(
        tmp_path, spec, narrow, dtype=dtype, max_model_len=spec.max_position_embeddings
    )
    ids = [(7 * n) % 251 for n in range(120)]

    def hidden(chunk: int) -> torch.Tensor:
        runner = PagedRunner(decoder, spec, partial(NativeAttention, narrow), dtype)
        return torch.cat([runner.run(ids[at : at + chunk]) for at in range(0, 120, chunk)])

    whole = hidden(120)
    for chunk in (60, 7, 5, 2, 1):
        assert torch.equal(hidden(chunk), whole), chunk


def test_draws_are_as_in_torch(narrow: Kernels) -> None:
    rows, vocab_size = mixed_rows(4099), 4099
    z = random_logits(len(rows), vocab_size, scale=2.5)
    ours, theirs = (
        sampler.sample(z, SamplingBatch.build(rows, vocab_size, "cpu"))
        for sampler in (NativeSampler(narrow), Sampler())
    )
    assert torch.equal(ours.token_ids, theirs.token_ids)
