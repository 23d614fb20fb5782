"""Settings that a device does not offer are refused by name, before anything is loaded.

Knows what kernels there are for which devices; nothing of kernels, models or files.
"""

from __future__ import annotations

import torch

from engine.config import EngineConfig
from engine.errors import EngineFault

Capability = tuple[int, int]

_OLDEST: Capability = (8, 0)
"""Ampere: before it, cards have no bfloat16 and too little memory beside their processors."""

_FIRST_WITH_FP8: Capability = (8, 9)


def check_offered(config: EngineConfig, dtype: torch.dtype, capability: Capability | None) -> None:
    """Raise for what cannot be had together.

    Args:
        dtype: what will be computed in.
        capability: of the GPU, or None on a CPU.

    Raises:
        EngineFault: the settings and the device do not fit; it names the setting.
    """
    refusals = _on_a_cpu(config) if capability is None else _on_a_gpu(config, dtype, capability)
    for applies, reason in refusals:
        if applies:
            raise EngineFault(reason)


def _on_a_cpu(config: EngineConfig) -> list[tuple[bool, str]]:
    return [
        (config.kv_cache_dtype == "fp8", "--kv-cache-dtype fp8 is offered on a GPU only."),
        (config.quantization == "fp8", "--quantization fp8 is offered on a GPU only."),
    ]


def _on_a_gpu(
    config: EngineConfig, dtype: torch.dtype, capability: Capability
) -> list[tuple[bool, str]]:
    version = ".".join(map(str, capability))
    odd_block = bool(config.block_size & (config.block_size - 1))
    fp8 = config.quantization == "fp8"
    fp8_cache = config.kv_cache_dtype == "fp8"
    old = capability < _FIRST_WITH_FP8
    return [
        (
            capability < _OLDEST,
            f"--device cuda: this GPU is of compute capability {version}; 8.0 or newer is needed.",
        ),
        (odd_block, "--block-size must be a power of two on a GPU."),
        (config.quantization == "int8", "--quantization int8 is offered on a CPU only."),
        (
            fp8 and bool(config.batch_invariant),
            "--quantization fp8 is not offered with --batch-invariant.",
        ),
        (
            fp8 and dtype != torch.bfloat16,
            "--quantization fp8 is offered with --dtype bfloat16 only.",
        ),
        (
            fp8 and old,
            f"--quantization fp8 needs a GPU of compute capability 8.9; this is {version}.",
        ),
        (
            fp8_cache and old,
            f"--kv-cache-dtype fp8 needs a GPU of compute capability 8.9; this is {version}.",
        ),
    ]
