"""Reads eight-bit floats (e4m3) in kernels, four of them from each word.

A compiler that is given single bytes moves them one by one: half of a kernel's instructions, and
in attention half of its time. So kernels load words, and the card widens two bytes at a time to
float16, which holds every such number exactly. Knows nothing of what the numbers are.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def in_word(numbers: Tensor) -> int:
    """How many numbers a kernel loads as one: four of eight bits, else each by itself."""
    return 4 if numbers.dtype == torch.float8_e4m3fn else 1


def read_as(numbers: Tensor) -> Tensor:
    """What a kernel loads from: of eight bits, the same memory as int32 `[..., size / 4]`, whose
    last dimension must be a multiple of four; others as they are."""
    return numbers if in_word(numbers) == 1 else numbers.view(torch.int32)


@triton.jit
def unpacked(loaded, IN_WORD: tl.constexpr, ON_CARD: tl.constexpr):
    """The numbers in what was loaded from `read_as(numbers)`, `in_word(numbers)` at a time:
    `[rows, size]`."""
    if IN_WORD > 1:
        numbers = _widened(loaded, ON_CARD)
    else:
        numbers = loaded
    return numbers


@triton.jit
def _widened(codes, ON_CARD: tl.constexpr):
    """`[rows, size]` words to `[rows, 4 * size]` float16, in the order of memory.

    `ON_CARD`: by the card's instruction (PTX ISA, `cvt.rn.f16x2.e4m3x2`, capability 8.9), which
    the interpreter does not know.
    """
    if ON_CARD:
        a, b, c, d = tl.inline_asm_elementwise(
            """
            {
                .reg .b16 low, high;
                .reg .b32 first, second;
                mov.b32 {low, high}, $4;
                cvt.rn.f16x2.e4m3x2 first, low;
                cvt.rn.f16x2.e4m3x2 second, high;
                mov.b32 {$0, $1}, first;
                mov.b32 {$2, $3}, second;
            }
            """,
            "=h,=h,=h,=h,r",
            [codes],
            dtype=(tl.float16, tl.float16, tl.float16, tl.float16),
            is_pure=True,
            pack=1,
        )
    else:
        a = _byte(codes)
        b = _byte(codes >> 8)
        c = _byte(codes >> 16)
        d = _byte(codes >> 24)
    pairs = tl.join(tl.join(a, c), tl.join(b, d))
    return tl.reshape(pairs, (codes.shape[0], codes.shape[1] * 4))


@triton.jit
def _byte(codes):
    return codes.to(tl.int8).to(tl.float8e4nv, bitcast=True).to(tl.float16)
