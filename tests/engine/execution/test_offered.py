"""What a device does not offer is refused by the name of the setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.errors import EngineFault
from engine.execution.offered import Capability, check_offered

HOPPER, AMPERE, TURING = (9, 0), (8, 6), (7, 5)


@pytest.mark.parametrize(
    ("capability", "settings", "named"),
    [
        (None, {"kv_cache_dtype": "fp8"}, "--kv-cache-dtype fp8"),
        (None, {"quantization": "fp8"}, "--quantization fp8"),
        (HOPPER, {"quantization": "int8"}, "--quantization int8"),
        (HOPPER, {"block_size": 48}, "--block-size"),
        (HOPPER, {"quantization": "fp8", "batch_invariant": True}, "--batch-invariant"),
        (AMPERE, {"quantization": "fp8"}, "--quantization fp8 needs .* 8.9; this is 8.6"),
        (AMPERE, {"kv_cache_dtype": "fp8"}, "--kv-cache-dtype fp8 needs .* 8.9; this is 8.6"),
        (TURING, {}, "--device cuda: .* 7.5; 8.0 or newer"),
    ],
)
def test_refused(capability: Capability | None, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(EngineFault, match=named):
        check_offered(EngineConfig(**settings), torch.bfloat16, capability)


def test_weights_of_eight_bits_go_with_bfloat16() -> None:
    with pytest.raises(EngineFault, match="--dtype bfloat16 only"):
        check_offered(EngineConfig(quantization="fp8"), torch.float16, HOPPER)


@pytest.mark.parametrize(
    ("capability", "settings"),
    [
        (None, {"quantization": "int8", "speculative_tokens": 3, "block_size": 48}),
        (HOPPER, {"quantization": "fp8", "kv_cache_dtype": "fp8"}),
        (HOPPER, {"kv_cache_dtype": "fp8", "batch_invariant": True}),
        (AMPERE, {"batch_invariant": True}),
    ],
)
def test_offered(capability: Capability | None, settings: dict[str, Any]) -> None:
    check_offered(EngineConfig(**settings), torch.bfloat16, capability)
