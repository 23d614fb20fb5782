"""The decoder for GPUs: `engine.models.decoder` says what is computed.

What a product is made of, its norm before it and its sum or gate after it, is the product's affair.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from engine.attention.backend import RotatingStepAttention
from engine.models.layer_weights import GatedWeights, LayerWeights, Projection
from engine.models.layers import Embedding, LayerRotations
from engine.models.spec import ModelSpec
from engine.models.triton_layers import rms_norm, soft_cap_
from engine.models.triton_mlp import ExpertMlp, GatedMlp
from engine.models.triton_products import Product, make_product
from engine.models.triton_thin import Norm
from engine.models.weights import open_weights

Mlp = GatedMlp | ExpertMlp


class TritonLayer:
    """One layer."""

    def __init__(
        self, weights: LayerWeights, spec: ModelSpec, *, batch_invariant: bool, fp8: bool
    ) -> None:
        """Lay out a layer's weights; see `make_product`."""
        eps, activation = spec.rms_norm_eps, spec.activation
        how = {"batch_invariant": batch_invariant, "fp8": fp8}

        def product(projection: Projection) -> Product:
            return make_product(projection, **how)

        def gain(exact: Tensor | None) -> Tensor | None:
            return None if exact is None else _narrowed(exact, weights.qkv.weight.dtype)

        def norm(exact: Tensor) -> Norm:
            return Norm(_narrowed(exact, weights.qkv.weight.dtype), eps)

        self.attention_norm = norm(weights.attention_norm)
        self.qkv = product(weights.qkv)
        self.qk_norm = gain(weights.qk_norm)
        self.sinks = weights.sinks
        self.output = product(weights.output)
        self.attention_post_norm = gain(weights.attention_post_norm)
        before_mlp = norm(weights.mlp_norm)
        self.mlp: Mlp
        if isinstance(weights.mlp, GatedWeights):
            self.mlp = GatedMlp(weights.mlp, before_mlp, activation, **how)
        else:
            assert spec.routing is not None
            self.mlp = ExpertMlp(weights.mlp, before_mlp, spec.routing, activation, **how)
        self.mlp_post_norm = gain(weights.mlp_post_norm)


class TritonDecoder:
    """Token ids and positions in, hidden states out; logits for the rows one asks for."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        embedding: Tensor,
        layers: list[TritonLayer],
        norm: Tensor,
        head: Product,
        rotations: LayerRotations,
    ) -> None:
        self._spec = spec
        self._embedding = Embedding(embedding, spec.embedding_scale)
        self._layers = layers
        self._norm = _narrowed(norm, embedding.dtype)
        self._head = head
        self._rotations = rotations
        self._heads = (spec.num_heads + 2 * spec.num_kv_heads, spec.head_dim)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, positions: Tensor, attention: RotatingStepAttention
    ) -> Tensor:
        """See `Decoder.forward`; ids and positions may be int32."""
        eps = self._spec.rms_norm_eps
        x = self._embedding(token_ids)
        rotations = self._rotations.prepare(positions)
        for number, layer in enumerate(self._layers):
            heads = layer.qkv(x, layer.attention_norm).view(-1, *self._heads)
            cos, sin = rotations[number]
            attended = attention.attend_rotating(
                number, heads, cos, sin, layer.qk_norm, eps, layer.sinks
            )
            x = self._added(layer.output, attended, layer.attention_post_norm, x)
            x = self._added(layer.mlp, x, layer.mlp_post_norm, x)
        return rms_norm(x, self._norm, eps)

    def _added(self, part: Product | Mlp, y: Tensor, gain: Tensor | None, x: Tensor) -> Tensor:
        """What the part makes of `y`, normalized if there is a gain, added to `x`."""
        if gain is None:
            return part(y, residual=x)
        return rms_norm(part(y), gain, self._spec.rms_norm_eps, residual=x)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Rows of `forward`'s result `[rows, hidden_size]` to `[rows, vocab_size]`, in the model's
        dtype: widening them for all of a vocabulary is left to whoever needs it."""
        return soft_cap_(self._head(hidden), self._spec.logit_cap)


def load_triton_decoder(
    model_dir: Path,
    spec: ModelSpec,
    *,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
    batch_invariant: bool,
    fp8: bool,
) -> TritonDecoder:
    """See `engine.models.weights.load_decoder`.

    `fp8` keeps eight bits of each weight of a layer's products. The output layer stays as it is: it
    is a small part of what is read, and what it rounds goes into the probabilities as they are.
    """
    four_bits = dtype == torch.bfloat16  # which the kernels widen them to
    with open_weights(model_dir, spec, dtype, device, keeps_four_bits=four_bits) as reader:
        layers = [
            TritonLayer(one, spec, batch_invariant=batch_invariant, fp8=fp8)
            for one in reader.layers()
        ]
        embedding = reader.embedding()
        head = Projection(reader.head(embedding), None)
        return TritonDecoder(
            spec,
            embedding=embedding,
            layers=layers,
            norm=reader.final_norm(),
            head=make_product(head, batch_invariant=batch_invariant, fp8=False),
            rotations=LayerRotations(spec.layer_ropes, spec.head_dim, max_model_len, dtype, device),
        )


def _narrowed(gain: Tensor, dtype: torch.dtype) -> Tensor:
    """In the dtype of what it multiplies, where that holds it: kernels then read both alike."""
    narrow = gain.to(dtype)
    return narrow if torch.equal(narrow.float(), gain) else gain
