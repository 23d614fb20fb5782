"""One transformer decoder, varied by its ModelSpec.

Knows the order of operations. Knows nothing of files, caches, batches or sampling: attention is
handed in for each step, and the tokens of a step are rows, whoever they belong to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engine.attention.backend import RotatingStepAttention, StepAttention
from engine.attention.soft_cap import soft_cap_
from engine.models.layer_weights import GatedWeights, LayerWeights, Projection
from engine.models.layers import (
    Embedding,
    LayerRotations,
    RMSNorm,
    Rotation,
    rotate_,
)
from engine.models.linear import Linear, make_linear
from engine.models.mlp import GatedMlp
from engine.models.moe import ExpertMlp
from engine.models.spec import ModelSpec

Mlp = GatedMlp | ExpertMlp


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """The parameters of one layer. `qkv` is queries, keys and values in one product.

    `qk_norm` has the gain of every query head, then of every key head. It and the norms of what
    attention and MLP give are None where nothing is normalized.
    """

    attention_norm: RMSNorm
    qkv: Linear
    qk_norm: RMSNorm | None
    sinks: Tensor | None
    output: Linear
    attention_post_norm: RMSNorm | None
    mlp_norm: RMSNorm
    mlp: Mlp
    mlp_post_norm: RMSNorm | None

    @classmethod
    def packed(
        cls, weights: LayerWeights, spec: ModelSpec, *, batch_invariant: bool
    ) -> DecoderLayer:
        """In the best form for the weights' device and dtype, see `make_linear`."""
        eps = spec.rms_norm_eps

        def linear(projection: Projection) -> Linear:
            return make_linear(projection.weight, projection.bias, batch_invariant=batch_invariant)

        def norm(gain: Tensor | None) -> RMSNorm | None:
            return None if gain is None else RMSNorm(gain, eps)

        def mlp(of_one: GatedWeights) -> GatedMlp:
            parts = (linear(of_one.gate), linear(of_one.up), linear(of_one.down))
            return GatedMlp(*parts, spec.activation)

        def whole_mlp() -> Mlp:
            if isinstance(weights.mlp, GatedWeights):
                return mlp(weights.mlp)
            assert spec.routing is not None
            experts = [mlp(of_one) for of_one in weights.mlp.experts]
            return ExpertMlp(linear(weights.mlp.router), experts, spec.routing)

        return cls(
            attention_norm=RMSNorm(weights.attention_norm, eps),
            qkv=linear(weights.qkv),
            qk_norm=norm(weights.qk_norm),
            sinks=weights.sinks,
            output=linear(weights.output),
            attention_post_norm=norm(weights.attention_post_norm),
            mlp_norm=RMSNorm(weights.mlp_norm, eps),
            mlp=whole_mlp(),
            mlp_post_norm=norm(weights.mlp_post_norm),
        )


class Decoder:
    """Token ids and positions in, hidden states out; logits for the rows one asks for."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        embedding: Tensor,
        layers: list[DecoderLayer],
        norm: RMSNorm,
        head: Linear,
        rotations: LayerRotations,
    ) -> None:
        self._spec = spec
        self._embedding = Embedding(embedding, spec.embedding_scale)
        self._layers = layers
        self._norm = norm
        self._head = head
        self._rotations = rotations
        self._rotated = spec.num_heads + spec.num_kv_heads
        self._split = (spec.num_heads, spec.num_kv_heads, spec.num_kv_heads)
        self._heads = (sum(self._split), spec.head_dim)

    @torch.inference_mode()
    def forward(self, token_ids: Tensor, positions: Tensor, attention: StepAttention) -> Tensor:
        """Run all layers and the final norm.

        Args:
            token_ids, positions: `[tokens]` int64, tokens of any number of sequences.
            attention: bound to these tokens.

        Returns:
            `[tokens, hidden_size]` in the model's dtype.
        """
        x = self._embedding(token_ids)
        rotations = self._rotations.prepare(positions)
        rotates = isinstance(attention, RotatingStepAttention)
        attend = partial(_rotating, attention) if rotates else partial(self._attend, attention)
        for number, layer in enumerate(self._layers):
            heads = layer.qkv(layer.attention_norm(x)).view(-1, *self._heads)
            attended = attend(number, layer, heads, rotations[number])
            x = _added(layer.output, attended, layer.attention_post_norm, x)
            x = _added(layer.mlp, layer.mlp_norm(x), layer.mlp_post_norm, x)
        return self._norm(x)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Rows of `forward`'s result `[rows, hidden_size]` to float32 `[rows, vocab_size]`."""
        return soft_cap_(self._head(hidden).float(), self._spec.logit_cap)

    def _attend(
        self,
        attention: StepAttention,
        number: int,
        layer: DecoderLayer,
        heads: Tensor,
        rotation: Rotation,
    ) -> Tensor:
        q, k, v = heads.split_with_sizes(self._split, 1)
        rotated = heads.narrow(1, 0, self._rotated)
        if layer.qk_norm is not None:
            rotated = layer.qk_norm(rotated)
            q, k = rotated.split_with_sizes(self._split[:2], 1)
        rotate_(rotated, rotation)
        return attention.attend(number, q, k, v, layer.sinks)


def _added(part: Linear | Mlp, y: Tensor, norm: RMSNorm | None, x: Tensor) -> Tensor:
    """What the part makes of `y`, normalized if need be, added to `x`."""
    return part.plus(y, x) if norm is None else x + norm(part(y))


def _rotating(
    attention: RotatingStepAttention,
    number: int,
    layer: DecoderLayer,
    heads: Tensor,
    rotation: Rotation,
) -> Tensor:
    """As `Decoder._attend`, for attention that does all of it in one pass."""
    norm = layer.qk_norm
    gain, eps = (None, 0.0) if norm is None else (norm.gain, norm.eps)
    cos, sin = rotation
    return attention.attend_rotating(number, heads, cos, sin, gain, eps, layer.sinks)
