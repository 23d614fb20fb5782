"""A tile of a product by weights of four bits (`engine.models.mxfp4`), for GPUs.

The weights travel as they are stored, and Triton's compiler widens them to bfloat16, which holds
them exactly, on their way to the tensor cores. Knows nothing of what the weights mean. It has been
compiled for cards and interpreted, but has not run on one yet.
"""

from __future__ import annotations

import triton
import triton.language as tl

from engine.models import mxfp4

BLOCK: tl.constexpr = tl.constexpr(mxfp4.BLOCK)
_FOUR_BITS: tl.constexpr = tl.constexpr("e2m1")
_BFLOAT16: tl.constexpr = tl.constexpr("bf16")


@triton.jit
def summed_by_four_bits(
    from_x,  # [ROWS, DEPTH] pointers to the first columns of rows, of bfloat16
    from_weight,  # [DEPTH / 2, COLUMNS] the same of weights, two in a byte
    from_scale,  # [COLUMNS, DEPTH / 32] the same of scales
    is_row,
    is_column,
    depth,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """As `engine.models.triton_linear.summed`; depth is a multiple of 32."""
    inner = tl.arange(0, DEPTH)
    byte = tl.arange(0, DEPTH // 2)
    block = tl.arange(0, DEPTH // BLOCK)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(0, depth, DEPTH):
        left = depth - at
        a = tl.load(from_x + at, mask=is_row[:, None] & (inner < left)[None, :], other=0.0)
        in_weight = is_column[None, :] & (byte < left // 2)[:, None]
        codes = tl.load(from_weight + at // 2, mask=in_weight, other=0)
        in_scale = is_column[:, None] & (block < left // BLOCK)[None, :]
        scales = tl.load(from_scale + at // BLOCK, mask=in_scale, other=0)
        # Fast: scales are numbers, which the format's 255 would not be.
        total = tl.dot_scaled(a, None, _BFLOAT16, codes, scales, _FOUR_BITS, total, fast_math=True)
    return total
