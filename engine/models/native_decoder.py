"""The decoder as one compiled call a step. `engine.models.decoder` says what is computed.

Knows which tensors the kernels want and keeps them alive; the arithmetic is theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attention.backend import StepAttention
from engine.attention.native import NativeStepAttention
from engine.attention.soft_cap import soft_cap_
from engine.models.activation import Activation
from engine.models.layer_weights import GatedWeights, LayerWeights, together
from engine.models.layers import rounded
from engine.models.spec import ModelSpec
from engine.native.kernels import DTYPES, LANES, Expert, Kernels, Layer, Linear, Model, Routing
from engine.native.packing import PackedWeights, in_turn

_GATES: dict[Activation, int] = {"silu": 0, "gelu_tanh": 1, "clamped": 2}
"""By what number the kernels know them."""


def can_decode(spec: ModelSpec, dtype: torch.dtype) -> bool:
    """Whether the kernels know layers of these sizes."""
    sizes = (spec.hidden_size, spec.intermediate_size, spec.head_dim)
    return dtype in DTYPES and not any(size % LANES for size in sizes)


class _PackedMlp:
    def __init__(self, weights: GatedWeights, *, int8: bool) -> None:
        self._gate_up = PackedWeights(*together((weights.gate, weights.up), in_turn), int8=int8)
        self._down = PackedWeights(*weights.down, int8=int8)
        self.c_mlp = Expert(self._gate_up.linear, self._down.linear)


class NativeLayer:
    """One layer, packed."""

    def __init__(self, weights: LayerWeights, angles: Tensor, *, int8: bool) -> None:
        """angles: `[positions, 2, head_dim]`, see `RotaryEmbedding`."""
        self._qkv = PackedWeights(*weights.qkv, int8=int8)
        self._output = PackedWeights(*weights.output, int8=int8)
        self._router: PackedWeights | None = None
        self._experts: list[_PackedMlp] = []
        self._mlp: _PackedMlp | None = None
        if isinstance(weights.mlp, GatedWeights):
            self._mlp = _PackedMlp(weights.mlp, int8=int8)
        else:
            self._router = PackedWeights(*weights.mlp.router)
            self._experts = [_PackedMlp(expert, int8=int8) for expert in weights.mlp.experts]
        self._c_experts = (Expert * len(self._experts))(*(one.c_mlp for one in self._experts))
        gains = (
            weights.attention_norm,
            weights.qk_norm,
            weights.attention_post_norm,
            weights.mlp_norm,
            weights.mlp_post_norm,
        )
        self._kept_alive = (gains, weights.sinks, angles)
        self.c_layer = Layer(
            weights.attention_norm.data_ptr(),
            self._qkv.linear,
            _pointer(weights.qk_norm),
            _pointer(weights.sinks),
            self._output.linear,
            _pointer(weights.attention_post_norm),
            weights.mlp_norm.data_ptr(),
            Expert() if self._mlp is None else self._mlp.c_mlp,
            Linear() if self._router is None else self._router.linear,
            self._c_experts if self._experts else None,
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
            _routing(spec),
            _GATES[spec.activation],
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


def _routing(spec: ModelSpec) -> Routing:
    routing = spec.routing
    if routing is None:
        return Routing()
    return Routing(routing.experts, routing.per_token, routing.normalized)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
