"""Weights of four bits with a scale for every 32 of them (MXFP4 of the OCP Microscaling Formats
specification 1.0), as gpt-oss has its experts, and what they stand for. The CPU's kernels multiply
by them as they are: engine/native/four_bits.h.

Knows the format; nothing of what the weights mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32
"""Weights that share a scale."""

_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Of E2M1, by the lower three bits; the highest is the sign."""
_EXPONENT_BIAS = 127
"""Of E8M0."""


def expanded(blocks: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The weights: exact in bfloat16 and float32.

    Args:
        blocks: uint8 `[..., blocks, 16]`, two weights in each, the first in the lower bits.
        scales: uint8 `[..., blocks]`, the exponents of two.

    Returns:
        `[..., blocks * 32]`.
    """
    values = torch.tensor(_MAGNITUDES, dtype=dtype, device=blocks.device)
    values = torch.cat((values, -values))
    pairs = torch.stack((blocks & 15, blocks >> 4), dim=-1)
    weights = values[pairs.int()].flatten(-2)
    exponents = scales.int().unsqueeze(-1) - _EXPONENT_BIAS
    return torch.ldexp(weights, exponents).to(dtype).flatten(-2)
