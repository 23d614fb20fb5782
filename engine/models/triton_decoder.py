"""The decoder for GPUs: `engine.models.decoder` says what is computed.

Seven kernels a layer beside attention's: two norms, four products, one gate; residual sums are part
of the products. Has been run by Triton's interpreter only, never on a card yet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from engine.attention.backend import RotatingStepAttention
from engine.models.layer_weights import LayerWeights, Projection
from engine.models.layers import RotaryEmbedding
from engine.models.spec import ModelSpec
from engine.models.triton_layers import rms_norm, silu_mul
from engine.models.triton_linear import linear
from engine.models.weights import open_weights

Product = Callable[[Tensor, Tensor | None], Tensor]
"""`x W^T + b`, plus a residual `[rows, out]` or None. x: `[rows, in]`."""


def make_product(projection: Projection, *, batch_invariant: bool) -> Product:
    """By a library, or by the kernel whose rows do not feel each other."""
    weight, bias = projection
    weight = weight.contiguous()

    def invariant(x: Tensor, residual: Tensor | None) -> Tensor:
        return linear(x, weight, bias, residual)

    def fastest(x: Tensor, residual: Tensor | None) -> Tensor:
        if residual is not None and bias is None:
            return torch.addmm(residual, x, weight.t())
        y = functional.linear(x, weight, bias)
        return y if residual is None else y.add_(residual)

    return invariant if batch_invariant else fastest


class TritonLayer:
    """One layer, its gate and up products in one."""

    def __init__(self, weights: LayerWeights, *, batch_invariant: bool) -> None:
        def product(projection: Projection) -> Product:
            return make_product(projection, batch_invariant=batch_invariant)

        self.attention_norm = weights.attention_norm
        self.qkv = product(weights.qkv)
        self.qk_norm = weights.qk_norm
        self.output = product(weights.output)
        self.mlp_norm = weights.mlp_norm
        self.gate_up = product(_joined(weights.gate, weights.up))
        self.down = product(weights.down)


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
        rotary: RotaryEmbedding,
    ) -> None:
        self._embedding = embedding
        self._layers = layers
        self._norm = norm
        self._eps = spec.rms_norm_eps
        self._head = head
        self._rotary = rotary
        self._heads = (spec.num_heads + 2 * spec.num_kv_heads, spec.head_dim)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, positions: Tensor, attention: RotatingStepAttention
    ) -> Tensor:
        """See `Decoder.forward`; ids and positions may be int32."""
        eps = self._eps
        x = self._embedding.index_select(0, token_ids)
        cos, sin = self._rotary.prepare(positions)
        for number, layer in enumerate(self._layers):
            heads = layer.qkv(rms_norm(x, layer.attention_norm, eps), None).view(-1, *self._heads)
            attended = attention.attend_rotating(number, heads, cos, sin, layer.qk_norm, eps)
            x = layer.output(attended, x)
            x = layer.down(silu_mul(layer.gate_up(rms_norm(x, layer.mlp_norm, eps), None)), x)
        return rms_norm(x, self._norm, eps)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Rows of `forward`'s result `[rows, hidden_size]` to `[rows, vocab_size]`, in the model's
        dtype: widening them for all of a vocabulary is left to whoever needs it."""
        return self._head(hidden, None)


def load_triton_decoder(
    model_dir: Path,
    spec: ModelSpec,
    *,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
    batch_invariant: bool,
) -> TritonDecoder:
    """See `engine.models.weights.load_decoder`."""
    with open_weights(model_dir, spec, dtype, device) as reader:
        layers = [TritonLayer(one, batch_invariant=batch_invariant) for one in reader.layers()]
        embedding = reader.embedding()
        head = Projection(reader.head(embedding), None)
        return TritonDecoder(
            spec,
            embedding=embedding,
            layers=layers,
            norm=reader.final_norm(),
            head=make_product(head, batch_invariant=batch_invariant),
            rotary=RotaryEmbedding(spec.rope, spec.head_dim, max_model_len, dtype, device),
        )


def _joined(gate: Projection, up: Projection) -> Projection:
    biases = [bias for bias in (gate.bias, up.bias) if bias is not None]
    return Projection(torch.cat((gate.weight, up.weight)), torch.cat(biases) if biases else None)
