"""`engine.attention.soft_cap` as kernels for GPUs call it, on numbers that they hold already."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def capped(x, CAP: tl.constexpr):
    """`CAP tanh(x / CAP)`; bounded, for an overflow of the exponential would tell nothing more."""
    return CAP * (2 / (1 + tl.exp(tl.minimum(x * (-2 / CAP), 80.0))) - 1)
