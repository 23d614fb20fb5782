"""A token's results have the same bits whatever number of rows and threads it runs with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.models.decoder import Decoder
from engine.models.layers import RMSNorm, RotaryEmbedding, rotate_
from engine.models.linear import PackedLinear, PlainLinear, can_pack
from engine.models.rope import RopeSpec
from engine.models.spec import load_spec
from engine.models.weights import load_decoder
from tests.engine.models.attention_doubles import CPU, RUNNERS, SelfAttention
from tests.tiny_models import Family, make_tiny_model

ROWS = (1, 2, 3, 7, 8, 31, 32, 33, 64, 130, 511)
needs_onednn = pytest.mark.skipif(
    not can_pack(torch.zeros(1, 1)), reason="oneDNN is what keeps rows alike"
)


@pytest.fixture(autouse=True)
def threads_put_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_rows_stay_alike(compute: Callable[[slice], torch.Tensor]) -> None:
    """`compute` gives the results of these rows out of 512."""
    torch.set_num_threads(1)
    whole = compute(slice(0, 512))
    for threads in (1, 2, 3, 4):
        torch.set_num_threads(threads)
        assert torch.equal(compute(slice(0, 512)), whole), threads
        for rows in ROWS:
            for first in (0, 512 - rows):
                part = compute(slice(first, first + rows))
                assert torch.equal(part, whole[first : first + rows]), (threads, rows, first)


FORMS: dict[str, Callable[..., torch.Tensor]] = {
    "plain": lambda linear, x, other: linear(x),
    "silu": lambda linear, x, other: linear.activated(x, "silu"),
    "gelu": lambda linear, x, other: linear.activated(x, "gelu_tanh"),
    "times": lambda linear, x, other: linear.times(x, other),
    "plus": lambda linear, x, other: linear.plus(x, other),
}


@needs_onednn
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(192, 320), (50, 30), (512, 193)])
@pytest.mark.parametrize("biased", [True, False])
def test_packed_linear(form: str, sizes: tuple[int, int], biased: bool) -> None:
    into, out = sizes
    weight, bias = random(out, into) / into**0.5, random(out) if biased else None
    x, other = random(512, into), random(512, out)
    packed = PackedLinear(weight, bias)
    assert_rows_stay_alike(lambda rows: FORMS[form](packed, x[rows].clone(), other[rows].clone()))
    expected = FORMS[form](PlainLinear(weight, bias), x, other)
    torch.testing.assert_close(FORMS[form](packed, x, other), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(192,), (33,), (8, 16), (3, 10)])
def test_rms_norm(shape: tuple[int, ...]) -> None:
    x, gain = random(512, *shape), random(*shape)
    norm = RMSNorm(gain, 1e-5)
    assert_rows_stay_alike(lambda rows: norm(x[rows].clone()))
    expected = torch.nn.functional.rms_norm(x, shape[-1:], None, 1e-5) * gain
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-5)


def test_norm_and_rotation_of_a_part_of_the_heads() -> None:
    projected, positions = random(512, 10, 24), torch.arange(512)
    norm = RMSNorm(random(7, 24), 1e-5)
    rotary = RotaryEmbedding(RopeSpec(), 24, 512, torch.float32, CPU)

    def compute(rows: slice) -> torch.Tensor:
        heads = projected[rows].clone()
        normed = norm(heads[:, :7])
        rotation = rotary.prepare(positions[rows])
        rotated = rotate_(normed, rotation)
        return torch.cat((rotated, rotate_(heads[:, :7], rotation)), 1)

    assert_rows_stay_alike(compute)


def tiny_decoder(directory: Path, family: Family) -> Decoder:
    make_tiny_model(directory, family, attention_bias=True)
    return load_decoder(
        directory,
        load_spec(directory),
        dtype=torch.float32,
        device=CPU,
        max_model_len=512,
        batch_invariant=True,
    )


@needs_onednn
@pytest.mark.parametrize(
    "family",
    ["llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "gpt_oss"],
)
def test_decoder(family: Family, tmp_path: Path) -> None:
    decoder = tiny_decoder(tmp_path, family)
    token_ids, positions = torch.arange(512) % 260, torch.arange(512)

    def compute(rows: slice) -> torch.Tensor:
        return decoder.forward(token_ids[rows], positions[rows], SelfAttention())

    assert_rows_stay_alike(compute)
    hidden = compute(slice(0, 512))
    assert_rows_stay_alike(lambda rows: decoder.logits(hidden[rows].clone()))


@needs_onednn
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_chunks_through_the_paged_cache(family: Family, tmp_path: Path) -> None:
    decoder, spec = tiny_decoder(tmp_path, family), load_spec(tmp_path)
    token_ids = [number % 256 for number in range(200)]
    hidden: list[torch.Tensor] = []
    for chunk in (200, 33, 7, 1):
        runner = RUNNERS["paged-cpu"](decoder, spec)
        parts = [runner.run(token_ids[at : at + chunk]) for at in range(0, 200, chunk)]
        hidden.append(torch.cat(parts))
    assert all(torch.equal(other, hidden[0]) for other in hidden[1:])
