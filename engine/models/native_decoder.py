"""The decoder as one compiled call a step. `engine.models.decoder` says what is computed.

Knows which tensors the kernels want and keeps them alive; the arithmetic is theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attention.backend import StepAttention
from engine.attention.native import NativeStepAttention
from engine.attention.soft_cap import soft_cap_
from engine.models.layer_weights import LayerWeights, Projection
from engine.models.layers import rounded
from engine.models.spec import ModelSpec
from engine.native.kernels import DTYPES, LANES, Kernels, Layer, Model
from engine.native.packing import PackedWeights, in_turn


def can_decode(spec: ModelSpec, dtype: torch.dtype) -> bool:
    """Whether the kernels know layers of these sizes."""
    sizes = (spec.hidden_size, spec.intermediate_size, spec.head_dim)
    return dtype in DTYPES and not any(size % LANES for size in sizes)


class NativeLayer:
    """One layer, packed."""

    def __init__(self, weights: LayerWeights, angles: Tensor, *, int8: bool) -> None:
        """angles: `[positions, 2, head_dim]`, see `RotaryEmbedding`."""
        self._qkv = PackedWeights(*weights.qkv, int8=int8)
        self._output = PackedWeights(*weights.output, int8=int8)
        self._gate_up = PackedWeights(*_joined(weights.gate, weights.up), int8=int8)
        self._down = PackedWeights(*weights.down, int8=int8)
        gains = (
            weights.attention_norm,
            weights.qk_norm,
            weights.attention_post_norm,
            weights.mlp_norm,
            weights.mlp_post_norm,
        )
        self._kept_alive = (gains, angles)
        self.c_layer = Layer(
            weights.attention_norm.data_ptr(),
            self._qkv.linear,
            _pointer(weights.qk_norm),
            self._output.linear,
            _pointer(weights.attention_post_norm),
            weights.mlp_norm.data_ptr(),
            self._gate_up.linear,
            self._down.linear,
            _pointer(weights.mlp_post_norm),
            angles.data_ptr(),
        )


class NativeDecoder:
    """As `engine.models.decoder.Decoder`, on a CPU, with attention of the same kernels."""

    def __init__(
        self,
        kernels: Kernels,
        spec: ModelSpec,
        *,
        embedding: Tensor,
        layers: list[NativeLayer],
        norm: Tensor,
        head: Tensor,
        int8: bool,
    ) -> None:
        self._kernels = kernels
        self._hidden_size = spec.hidden_size
        self._dtype = embedding.dtype
        self._head = PackedWeights(head, None, int8=int8)
        self._logit_cap = spec.logit_cap
        self._kept_alive = (embedding, norm, layers)
        self._model = Model(
            (Layer * len(layers))(*(layer.c_layer for layer in layers)),
            embedding.data_ptr(),
            norm.data_ptr(),
            len(layers),
            spec.hidden_size,
            spec.intermediate_size,
            spec.rms_norm_eps,
            rounded(spec.embedding_scale, embedding.dtype),
            spec.activation == "gelu_tanh",
        )

    def forward(self, token_ids: Tensor, positions: Tensor, attention: StepAttention) -> Tensor:
        """See `Decoder.forward`. `positions` are those that `attention` knows already."""
        assert isinstance(attention, NativeStepAttention), "attention of the same kernels"
        hidden = torch.empty(len(token_ids), self._hidden_size, dtype=self._dtype)
        attention.forward(self._model, token_ids, hidden)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """See `Decoder.logits`."""
        return soft_cap_(self._kernels.linear(self._head.linear, hidden), self._logit_cap)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _joined(gate: Projection, up: Projection) -> Projection:
    bias = None
    if gate.bias is not None and up.bias is not None:
        bias = in_turn(gate.bias, up.bias)
    return Projection(in_turn(gate.weight, up.weight), bias)
