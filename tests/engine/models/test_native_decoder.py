"""The compiled decoder: as `transformers` has it, and a row's bits are its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from engine.attention.cpu import CpuAttention
from engine.attention.native import NativeAttention
from engine.models.native_decoder import NativeDecoder, can_decode
from engine.models.spec import ModelSpec, load_spec
from engine.models.weights import load_decoder, load_native_decoder
from engine.native.kernels import Kernels
from tests.engine.models.attention_doubles import CPU, PagedRunner
from tests.engine.models.test_parity import CASES, DECODED, PROMPT, TOLERANCE, model_of, token_ids
from tests.engine.models.test_parity import expected_logits as expected
from tests.tiny_models import Family, make_tiny_model

ODD_SIZES = "llama-odd-sizes"


@pytest.fixture(autouse=True)
def threads_put_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def load(
    directory: Path, kernels: Kernels, dtype: torch.dtype = torch.float32
) -> tuple[ModelSpec, NativeDecoder]:
    spec = load_spec(directory)
    length = spec.max_position_embeddings
    return spec, load_native_decoder(directory, spec, kernels, dtype=dtype, max_model_len=length)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {ODD_SIZES}))
def test_logits_equal_transformers(name: str, root: Path, kernels: Kernels) -> None:
    directory = model_of(name, root)
    spec, decoder = load(directory, kernels)
    runner = PagedRunner(decoder, spec, partial(NativeAttention, kernels))
    ids = token_ids()
    steps = [runner.run(ids[: PROMPT - 30]), runner.run(ids[PROMPT - 30 : PROMPT])]
    steps += [runner.run([token]) for token in ids[PROMPT:]]
    logits = decoder.logits(torch.cat(steps))
    assert logits.shape[0] == PROMPT + DECODED
    torch.testing.assert_close(logits, expected(directory), atol=TOLERANCE, rtol=0)


FAMILIES = ["llama", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "gpt_oss"]


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_near_the_torch_decoder(
    family: Family, tmp_path: Path, kernels: Kernels
) -> None:
    make_tiny_model(tmp_path, family, attention_bias=True, mlp_bias=family == "llama")
    exact_spec, exact = load(tmp_path, kernels)
    spec, decoder = load(tmp_path, kernels, torch.bfloat16)
    plain = load_decoder(
        tmp_path,
        spec,
        dtype=torch.bfloat16,
        device=CPU,
        max_model_len=spec.max_position_embeddings,
        batch_invariant=True,
    )
    ids = token_ids()
    native = partial(NativeAttention, kernels)
    want = exact.logits(PagedRunner(exact, exact_spec, native).run(ids))
    got = decoder.logits(PagedRunner(decoder, spec, native, torch.bfloat16).run(ids))
    other = plain.logits(PagedRunner(plain, spec, CpuAttention, torch.bfloat16).run(ids))
    # Half precision is wrong somewhere by chance: ours must not be worse than torch's by much.
    assert (got - want).square().mean() < 2 * (other - want).square().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_the_same_bits_in_any_chunking_and_with_any_threads(
    family: Family, dtype: torch.dtype, tmp_path: Path, kernels: Kernels
) -> None:
    make_tiny_model(tmp_path, family, attention_bias=True)
    spec, decoder = load(tmp_path, kernels, dtype)
    ids = [number % 256 for number in range(200)]
    results: list[torch.Tensor] = []
    for threads, chunk in ((1, 200), (2, 200), (3, 33), (2, 7), (2, 5), (1, 4), (2, 3), (2, 1)):
        torch.set_num_threads(threads)
        runner = PagedRunner(decoder, spec, partial(NativeAttention, kernels), dtype)
        hidden = torch.cat([runner.run(ids[at : at + chunk]) for at in range(0, 200, chunk)])
        results.append(decoder.logits(hidden))
    assert all(torch.equal(other, results[0]) for other in results[1:])


def test_what_the_kernels_do_not_know(root: Path) -> None:
    spec = load_spec(model_of("llama-biases", root))
    assert can_decode(spec, torch.float32) and can_decode(spec, torch.bfloat16)
    assert not can_decode(spec, torch.float16)
    assert not can_decode(load_spec(model_of(ODD_SIZES, root)), torch.float32)
