"""The compiled kernels as Python calls them.

Tensors are contiguous, on the CPU, and all of one dtype: float32 or bfloat16. Knows the C side's
structures; nothing of models.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)
HEAD_DIMS = (16, 32, 64, 80, 96, 128, 256)
LANES = 16


class Shape(Structure):
    """What is the same for all calls."""

    _fields_ = [
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("dim", c_int64),
        ("block_size", c_int64),
        ("threads", c_int64),
        ("scale", c_float),
    ]


class Step(Structure):
    """The tokens of one step; the arrays must outlive it. See `ForwardBatch`."""

    _fields_ = [
        ("positions", c_void_p),
        ("slots", c_void_p),
        ("query_starts", c_void_p),
        ("tables", c_void_p),
        ("tokens", c_int64),
        ("sequences", c_int64),
        ("table_width", c_int64),
    ]


class Inputs(Structure):
    """Queries, keys and values of one layer, and what is still to be done to them."""

    _fields_ = [
        ("q", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("stride", c_int64),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("angle_stride", c_int64),
        ("gain", c_void_p),
        ("eps", c_float),
    ]


class Kernels:
    """The library of `engine.native.build`."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` when the library cannot be loaded."""
        library = ctypes.CDLL(str(path))
        self._attend = library.diglot_attend
        self._attend.argtypes = [
            POINTER(Shape),
            POINTER(Step),
            POINTER(Inputs),
            c_void_p,
            c_void_p,
            c_int64,
            c_void_p,
            c_int,
        ]
        self._attend.restype = c_int
        self._rms_norm = library.diglot_rms_norm
        self._rms_norm.argtypes = [
            c_void_p,
            c_void_p,
            c_void_p,
            c_int64,
            c_int64,
            c_float,
            c_int,
            c_int,
        ]
        self._rms_norm.restype = None

    def attend(
        self,
        shape: Shape,
        step: Step,
        inputs: Inputs,
        keys: Tensor,
        values: Tensor,
        window: int | None,
        out: Tensor,
    ) -> None:
        """Write a step's keys and values to the cache and its attention to `out`
        `[tokens, heads * dim]`."""
        failed = self._attend(
            byref(shape),
            byref(step),
            byref(inputs),
            keys.data_ptr(),
            values.data_ptr(),
            window or 0,
            out.data_ptr(),
            out.dtype == torch.bfloat16,
        )
        assert not failed, "heads of other sizes are not given to these kernels"

    def rms_norm(self, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """`x / sqrt(mean(x^2) + eps) * gain`; x: `[rows, size]`, gain: `[size]`."""
        y = torch.empty_like(x)
        rows, size = x.shape
        self._rms_norm(
            x.data_ptr(),
            gain.data_ptr(),
            y.data_ptr(),
            rows,
            size,
            eps,
            torch.get_num_threads(),
            x.dtype == torch.bfloat16,
        )
        return y
