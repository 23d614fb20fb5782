"""A program that compiles the attention kernels and prints a line for each, in JSON."""

from __future__ import annotations

import torch

from engine.attention.backend import AttentionShape
from engine.attention.triton_backend import TritonAttention
from tests.engine.attention.device_batches import make_cache, make_step
from tests.triton_compiler import compiling, report

CASES = [
    ((16, 8, 128), (None, 100), None, torch.bfloat16, torch.bfloat16),
    ((8, 4, 256), (None,), 50.0, torch.bfloat16, torch.bfloat16),
    ((7, 1, 80), (None,), None, torch.bfloat16, torch.float8_e4m3fn),
    ((4, 2, 64), (100,), None, torch.float32, torch.float32),
    ((64, 8, 64), (None, 128), None, torch.bfloat16, torch.bfloat16),
]
"""Heads, kv heads and head size; windows of layers; soft cap; dtypes of the model and the cache."""

WITH_SINKS = (64, 8, 64)


def launch(
    sizes: tuple[int, int, int],
    windows: tuple[int | None, ...],
    cap: float | None,
    dtype: torch.dtype,
    cache_dtype: torch.dtype,
) -> None:
    """One step of a decode and a chunk, in both modes."""
    shape = AttentionShape(*sizes, scale=1.0, windows=windows, cap=cap)
    step = make_step([(20, 1), (30, 5)], 16)
    total = shape.num_heads + 2 * shape.num_kv_heads
    heads = torch.zeros(6, total, shape.head_dim, dtype=dtype)
    angles = torch.zeros(6, 1, shape.head_dim, dtype=dtype)
    gain = torch.zeros(total - shape.num_kv_heads, shape.head_dim, dtype=dtype)
    sinks = torch.zeros(shape.num_heads) if sizes == WITH_SINKS else None
    cache = make_cache(shape, step, cache_dtype)
    for invariant in (False, True):
        backend = TritonAttention(shape, cache, batch_invariant=invariant)
        attention = backend.begin(step.device(longest_context=4096))
        for layer in range(len(windows)):
            attention.attend_rotating(layer, heads, angles, angles, gain, 1e-6, sinks)


if __name__ == "__main__":
    with compiling() as kernels:
        for case in CASES:
            launch(*case)
    report(kernels)
