"""Makes Triton's interpreter convert and multiply as a card does.

As it comes, the interpreter holds bfloat16 as integers: it cuts off what should be rounded, loses
the carry where it does round, and multiplies the integers in `tl.dot`; it has no `tl.dot_scaled`.
Here torch converts, and products are of the numbers, added up in float32. Knows the interpreter's
inside; tests of kernels in anything but float32 need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from triton._C.libtriton.ir import ScaleDotElemTypeTY
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from engine.models.mxfp4 import BLOCK, expanded

_BITS = {"bf16": (torch.bfloat16, np.uint16), "fp8e4nv": (torch.float8_e4m3fn, np.uint8)}
_PLAIN = {"fp32": torch.float32, "fp16": torch.float16, "fp64": torch.float64}


def _to_torch(handle: Any) -> torch.Tensor:
    data = torch.from_numpy(np.array(handle.data, order="C"))
    name = handle.dtype.scalar.name
    return data.view(_BITS[name][0]) if name in _BITS else data


def _convert(handle: Any, name: str) -> np.ndarray:
    number = _to_torch(handle)
    if name not in _BITS:
        return number.to(_PLAIN[name]).numpy()
    dtype, bits = _BITS[name]
    return number.to(dtype).view(getattr(torch, np.dtype(bits).name)).numpy()


def _expand(codes: Any, scales: Any) -> np.ndarray:
    """Weights of four bits on the right of a product, codes `[K / 2, N]`, scales `[N, K / 32]`."""
    weights, exponents = (torch.from_numpy(np.ascontiguousarray(h.data)) for h in (codes, scales))
    blocks = weights.T.reshape(*exponents.shape, BLOCK // 2)
    return expanded(blocks, exponents, torch.float32).T.numpy()


@contextmanager
def exact_numbers(*, one_order: bool = False) -> Iterator[None]:
    """While this lasts, casts round to nearest even and products are those of the numbers.

    `one_order`: each element of a product is summed alike, as on tensor cores. A BLAS, which is
    faster, picks its order by a row's place in the tile.
    """
    plain_cast = InterpreterBuilder.cast_impl

    def cast(self: Any, src: Any, dst_type: Any) -> Any:
        names = (src.dtype.scalar.name, dst_type.scalar.name)
        if not _BITS.keys() & names or not all(n in _BITS or n in _PLAIN for n in names):
            return plain_cast(self, src, dst_type)
        return TensorHandle(_convert(src, names[1]), dst_type.scalar)

    def convert(self: Any, src: Any, dst_type: Any, rounding: Any) -> Any:
        return cast(self, src, dst_type)

    def product(left: np.ndarray, right: np.ndarray, added: Any) -> Any:
        total = added.data.copy()
        if not one_order:
            return TensorHandle(left @ right + total, added.dtype.scalar)
        for k in range(left.shape[1]):
            total += left[:, k, None] * right[k]
        return TensorHandle(total, added.dtype.scalar)

    def dot(self: Any, a: Any, b: Any, d: Any, precision: Any, imprecise: Any) -> Any:
        return product(_convert(a, "fp32"), _convert(b, "fp32"), d)

    def dot_scaled(self: Any, a: Any, a_scale: Any, a_format: Any, b: Any, *rest: Any) -> Any:
        b_scale, b_format, *_, d = rest
        formats = (a_format, b_format)
        assert a_scale is None and formats == (ScaleDotElemTypeTY.BF16, ScaleDotElemTypeTY.E2M1)
        return product(_convert(a, "fp32"), _expand(b, b_scale), d)

    with (
        patch.multiple(InterpreterBuilder, cast_impl=cast, create_fp_to_fp=convert, create_dot=dot),
        patch.object(InterpreterBuilder, "create_dot_scaled", dot_scaled, create=True),
    ):
        yield
