"""Attention on a CPU by the compiled kernels: one call a layer does it all.

Normalizing and rotating heads, writing the cache and reading it where it lies are one pass, and no
tensor is made but the result. A row's bits depend on nothing but its own sequence, as with
`engine.attention.cpu`, which stands in where no compiler is. Knows nothing of models.
"""

from __future__ import annotations

from ctypes import addressof, c_int64, c_void_p

import numpy as np
import torch
from torch import Tensor

from engine.attention.backend import AttentionShape
from engine.attention.forward_batch import ForwardBatch
from engine.attention.kv_cache import KVCache
from engine.native.kernels import (
    DTYPES,
    HEAD_DIMS,
    LANES,
    Cache,
    Inputs,
    Kernels,
    Model,
    Shape,
    Step,
)


def can_attend(shape: AttentionShape, block_size: int, dtype: torch.dtype) -> bool:
    """Whether the kernels know heads and blocks of these sizes."""
    return shape.head_dim in HEAD_DIMS and block_size % LANES == 0 and dtype in DTYPES


class NativeAttention:
    """Backend for caches on the CPU."""

    def __init__(self, kernels: Kernels, shape: AttentionShape, cache: KVCache) -> None:
        self._kernels = kernels
        self._shape = shape
        self._cache = cache
        count = len(shape.windows)
        self._arrays = (  # kept alive
            (c_void_p * count)(*(layer.data_ptr() for layer in cache.keys)),
            (c_void_p * count)(*(layer.data_ptr() for layer in cache.values)),
            (c_int64 * count)(*(window or 0 for window in shape.windows)),
        )
        self._c_cache = Cache(*(addressof(array) for array in self._arrays))

    def begin(self, batch: ForwardBatch) -> NativeStepAttention:
        """Nothing to plan: the kernels read the batch's own arrays."""
        return NativeStepAttention(self._kernels, self._shape, self._cache, self._c_cache, batch)


class NativeStepAttention:
    """One step's batch, as the kernels see it."""

    def __init__(
        self,
        kernels: Kernels,
        shape: AttentionShape,
        cache: KVCache,
        c_cache: Cache,
        batch: ForwardBatch,
    ) -> None:
        self._kernels = kernels
        self._shape = shape
        self._cache = cache
        self._c_cache = c_cache
        self._heads = shape.num_heads + 2 * shape.num_kv_heads
        tables = np.ascontiguousarray(batch.block_tables)
        self._arrays = (batch.positions, batch.slots, batch.query_starts, tables)  # kept alive
        self._c_shape = Shape(
            shape.num_heads,
            shape.num_kv_heads,
            shape.head_dim,
            cache.block_size,
            torch.get_num_threads(),
            shape.scale,
            shape.cap or 0.0,
        )
        self._c_step = Step(
            batch.positions.data_ptr(),
            batch.slots.data_ptr(),
            batch.query_starts.ctypes.data,
            tables.ctypes.data,
            len(batch.positions),
            len(tables),
            tables.shape[1],
        )

    def forward(self, model: Model, token_ids: Tensor, hidden: Tensor) -> None:
        """All layers of a compiled decoder at once; see `Kernels.forward`."""
        self._kernels.forward(model, self._c_shape, self._c_step, self._c_cache, token_ids, hidden)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None
    ) -> Tensor:
        """See `engine.attention.backend.StepAttention.attend`."""
        joined = torch.cat((q, k, v), 1)
        return self._run(layer, joined, None, None, None, 0.0, sinks)

    def attend_rotating(
        self,
        layer: int,
        heads: Tensor,
        cos: Tensor,
        sin: Tensor,
        gain: Tensor | None,
        eps: float,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """See `engine.attention.backend.RotatingStepAttention.attend_rotating`."""
        return self._run(layer, heads, cos, sin, gain, eps, sinks)

    def _run(
        self,
        layer: int,
        heads: Tensor,
        cos: Tensor | None,
        sin: Tensor | None,
        gain: Tensor | None,
        eps: float,
        sinks: Tensor | None,
    ) -> Tensor:
        shape = self._shape
        tokens = heads.shape[0]
        base, head_bytes = heads.data_ptr(), shape.head_dim * heads.element_size()
        first_key = base + shape.num_heads * head_bytes
        inputs = Inputs(
            base,
            first_key,
            first_key + shape.num_kv_heads * head_bytes,
            self._heads * shape.head_dim,
            None if cos is None else cos.data_ptr(),
            None if sin is None else sin.data_ptr(),
            0 if cos is None else cos.stride(0),
            None,
            None if gain is None else gain.data_ptr(),
            None if sinks is None else sinks.data_ptr(),
            eps,
        )
        out = heads.new_empty(tokens, shape.num_heads * shape.head_dim)
        self._kernels.attend(
            self._c_shape,
            self._c_step,
            inputs,
            self._cache.keys[layer],
            self._cache.values[layer],
            shape.windows[layer],
            out,
        )
        return out
