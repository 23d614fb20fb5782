"""Weights of four bits: every value of the format, and what `transformers` makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import ModelLoadError
from engine.models.mxfp4 import expanded
from engine.models.spec import load_spec
from engine.models.weights import load_decoder
from tests.tiny_models import make_tiny_model


def test_every_value_of_the_format() -> None:
    """As the tables of the specification have them, the lower half of a byte first."""
    blocks = torch.arange(16, dtype=torch.uint8) | (15 - torch.arange(16)).byte() << 4
    scales = torch.tensor([127], dtype=torch.uint8)
    weights = expanded(blocks[None], scales, torch.float32)
    half = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    values = half + [-value for value in half]
    assert weights[::2].tolist() == values and weights[1::2].tolist() == values[::-1]


@pytest.mark.parametrize(("scale", "factor"), [(127, 1.0), (130, 8.0), (117, 2.0**-10)])
def test_scales_are_powers_of_two(scale: int, factor: float) -> None:
    blocks = torch.full((2, 1, 16), 0x92, dtype=torch.uint8)  # 1, and -0.5
    scales = torch.tensor([[scale], [127]], dtype=torch.uint8)
    weights = expanded(blocks, scales, torch.bfloat16)
    assert weights.shape == (2, 32) and weights.dtype == torch.bfloat16
    assert weights[0, :2].tolist() == [factor, -0.5 * factor]
    assert weights[1, :2].tolist() == [1.0, -0.5]


def test_as_transformers_expands_them() -> None:
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (3, 10, 4, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(100, 150, (3, 10, 4), generator=generator, dtype=torch.uint8)
    theirs = mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
    assert torch.equal(expanded(blocks, scales, torch.bfloat16), theirs.transpose(1, 2))


def test_refuses_rows_of_broken_blocks(tmp_path: Path) -> None:
    method = {"quant_method": "mxfp4"}
    make_tiny_model(tmp_path, "gpt_oss", quantization_config=method, intermediate_size=48)
    with pytest.raises(ModelLoadError, match="down_proj has blocks of 32"):
        load_decoder(
            tmp_path,
            load_spec(tmp_path),
            dtype=torch.float32,
            device=torch.device("cpu"),
            max_model_len=64,
            batch_invariant=True,
        )
