"""Matrix products with what follows them fused in: activation, product or residual sum.

On a CPU, oneDNN multiplies by weights that were packed once. Packed for about 32 rows, its kernels
give each row the same bits whatever the number of rows, which no other BLAS at hand does; the
fused forms also keep vectorized and scalar tails of an activation alike. Elsewhere plain torch.
Only the CPU side is exercised by this project's tests; the CUDA side has the same interface and is
the plain torch one.

Knows nothing of decoders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.activation import PlainActivation

_PACKED_FOR_ROWS = 32
"""The row count that oneDNN lays weights out for. Laid out for 1, results depend on the rows."""

_CHUNK_ROWS = 32
"""Rows of one product where only a constant shape can keep results alike."""

_POINTWISE: dict[PlainActivation, tuple[str, str]] = {
    "silu": ("swish", ""),
    "gelu_tanh": ("gelu", "tanh"),
}
"""What oneDNN's fused forms call them: operation and algorithm."""


def activate(x: Tensor, activation: PlainActivation) -> Tensor:
    """By plain torch."""
    return functional.silu(x) if activation == "silu" else functional.gelu(x, approximate="tanh")


class Linear(Protocol):
    """`y = x W^T + b`, and `y` with one more operation. x: `[rows, in]`, contiguous; y, other:
    `[rows, out]`."""

    def __call__(self, x: Tensor) -> Tensor:
        """`y`."""
        ...

    def activated(self, x: Tensor, activation: PlainActivation) -> Tensor:
        """`y`, activated."""
        ...

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """`y * other`."""
        ...

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """`y + other`."""
        ...


def make_linear(weight: Tensor, bias: Tensor | None, *, batch_invariant: bool) -> Linear:
    """The best form for the weight's device and dtype.

    Args:
        weight: `[out, in]`; not needed by the caller afterwards, so that its memory can go.
        bias: `[out]` or None.
        batch_invariant: a row's result must not depend on the rows beside it.
    """
    if can_pack(weight):
        return PackedLinear(weight, bias)
    if batch_invariant:
        return ChunkedLinear(weight, bias)
    return PlainLinear(weight, bias)


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN is here and multiplies this dtype on this processor."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    match weight.dtype:
        case torch.float32:
            return True
        case torch.bfloat16:
            return torch.ops.mkldnn._is_mkldnn_bf16_supported()
        case torch.float16:
            return torch.ops.mkldnn._is_mkldnn_fp16_supported()
        case _:
            return False


class PackedLinear:
    """oneDNN with packed weights: invariant to the number of rows, bit for bit."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        ops = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight.contiguous(), _PACKED_FOR_ROWS)
        self._bias = bias
        self._unary = ops._linear_pointwise.default
        self._binary = ops._linear_pointwise.binary

    def __call__(self, x: Tensor) -> Tensor:
        return self._unary(x, self._weight, self._bias, "none", [], "")

    def activated(self, x: Tensor, activation: PlainActivation) -> Tensor:
        name, algorithm = _POINTWISE[activation]
        return self._unary(x, self._weight, self._bias, name, [], algorithm)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        return self._binary(x, other, self._weight, self._bias, "mul")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self._binary(x, other, self._weight, self._bias, "add")


class PlainLinear:
    """Plain torch: any device, any dtype; the kernel, and so the last bits, vary with the rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight, self._bias)

    def activated(self, x: Tensor, activation: PlainActivation) -> Tensor:
        return activate(self(x), activation)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x).mul_(other)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x).add_(other)


class ChunkedLinear(PlainLinear):
    """Plain torch on a constant number of rows at a time, the last chunk padded.

    One shape takes one kernel, which makes rows as alike as that kernel treats its rows.
    """

    def __call__(self, x: Tensor) -> Tensor:
        return self._in_chunks(x, super().__call__)

    def activated(self, x: Tensor, activation: PlainActivation) -> Tensor:
        multiply = super().__call__
        return self._in_chunks(x, lambda chunk: activate(multiply(chunk), activation))

    @staticmethod
    def _in_chunks(x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        rows = x.shape[0]
        padded = functional.pad(x, (0, 0, 0, -rows % _CHUNK_ROWS))
        return torch.cat([compute(chunk) for chunk in padded.split(_CHUNK_ROWS)])[:rows]
