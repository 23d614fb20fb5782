"""From a checkpoint's tensors to a decoder: names, dtypes, fusing and packing.

The names are those of Hugging Face, which the supported families share. One layer is read, fused
and packed at a time, so that little more than the packed model is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import ModelLoadError
from engine.models.checkpoint import Checkpoint
from engine.models.decoder import Decoder, DecoderLayer
from engine.models.expert_weights import FusedExperts
from engine.models.families.traits import Routing
from engine.models.layer_weights import (
    ExpertWeights,
    GatedWeights,
    LayerWeights,
    Projection,
    together,
)
from engine.models.layers import LayerRotations, RMSNorm
from engine.models.linear import make_linear
from engine.models.native_decoder import NativeDecoder, NativeLayer
from engine.models.spec import ModelSpec
from engine.native.kernels import Kernels


def load_decoder(
    model_dir: Path,
    spec: ModelSpec,
    *,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
    batch_invariant: bool,
    progress: Callable[[float], None] | None = None,
) -> Decoder:
    """Read the weights and build the decoder.

    Args:
        dtype: what to compute in, whatever the checkpoint was saved in.
        max_model_len: positions that the decoder must know, in tokens.
        batch_invariant: a row's result must not depend on the rows beside it.
        progress: told the share of layers that are done, 0 to 1.

    Raises:
        ModelLoadError: something is missing, spare, or of another shape than the config says.
    """
    with open_weights(model_dir, spec, dtype, device) as reader:
        layers = [
            DecoderLayer.packed(weights, spec, batch_invariant=batch_invariant)
            for weights in reader.layers(progress)
        ]
        embedding = reader.embedding()
        return Decoder(
            spec,
            embedding=embedding,
            layers=layers,
            norm=RMSNorm(reader.final_norm(), spec.rms_norm_eps),
            head=make_linear(reader.head(embedding), None, batch_invariant=batch_invariant),
            rotations=LayerRotations(spec.layer_ropes, spec.head_dim, max_model_len, dtype, device),
        )


def load_native_decoder(
    model_dir: Path,
    spec: ModelSpec,
    kernels: Kernels,
    *,
    dtype: torch.dtype,
    max_model_len: int,
    int8: bool = False,
    progress: Callable[[float], None] | None = None,
) -> NativeDecoder:
    """As `load_decoder`, for a CPU and compiled kernels that know the model's sizes.

    `int8` keeps eight bits of each weight of a product; the embedding table stays as it is, and so
    do weights of four bits.
    """
    device = torch.device("cpu")
    with open_weights(model_dir, spec, dtype, device, keeps_four_bits=True) as reader:
        rotations = LayerRotations(spec.layer_ropes, spec.head_dim, max_model_len, dtype, device)
        layers = [
            NativeLayer(weights, angles, int8=int8)
            for weights, angles in zip(reader.layers(progress), rotations.tables, strict=True)
        ]
        embedding = reader.embedding()
        return NativeDecoder(
            kernels,
            spec,
            embedding=embedding,
            layers=layers,
            norm=reader.final_norm(),
            head=reader.head(embedding),
            int8=int8,
        )


@contextmanager
def open_weights(
    model_dir: Path,
    spec: ModelSpec,
    dtype: torch.dtype,
    device: torch.device,
    *,
    keeps_four_bits: bool = False,
) -> Iterator[WeightsReader]:
    """A model's weights, for whoever lays them out; `keeps_four_bits`: who knows those, see
    `Projection`. Else they are expanded.

    Raises:
        ModelLoadError: something is missing or of another shape than the config says, or is left
            over in the end.
    """
    with Checkpoint(model_dir) as checkpoint:
        yield WeightsReader(checkpoint, spec, dtype, device, keeps_four_bits)
        _refuse_spare(checkpoint.not_taken(), spec)


@dataclass(frozen=True, slots=True)
class WeightsReader:
    """Takes tensors from the checkpoint, a layer at a time."""

    checkpoint: Checkpoint
    spec: ModelSpec
    dtype: torch.dtype
    device: torch.device
    keeps_four_bits: bool

    def layers(self, progress: Callable[[float], None] | None = None) -> Iterator[LayerWeights]:
        """All layers in order; `progress` is told the share of them that was taken, 0 to 1."""
        for number in range(self.spec.num_layers):
            yield self._layer(f"model.layers.{number}.")
            if progress is not None:
                progress((number + 1) / self.spec.num_layers)

    def embedding(self) -> Tensor:
        """`[vocab_size, hidden_size]`."""
        spec = self.spec
        return self._tensor("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size)

    def final_norm(self) -> Tensor:
        """float32 `[hidden_size]`."""
        return self._gain("model.norm", self.spec.hidden_size)

    def head(self, embedding: Tensor) -> Tensor:
        """The output layer: the embedding table itself where the two are tied."""
        if self.spec.tie_word_embeddings:
            return embedding
        return self._tensor("lm_head.weight", self.spec.vocab_size, self.spec.hidden_size)

    def _layer(self, prefix: str) -> LayerWeights:
        spec = self.spec
        hidden = spec.hidden_size
        attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
        queries = spec.num_heads * spec.head_dim
        # One name for two places: before the MLP, unless there is a norm after attention.
        after_attention = self._gain(f"{prefix}post_attention_layernorm", hidden)
        return LayerWeights(
            attention_norm=self._gain(f"{prefix}input_layernorm", hidden),
            qkv=self._qkv(attention),
            qk_norm=self._qk_norm(attention) if spec.qk_norm else None,
            sinks=self._sinks(attention) if spec.sinks else None,
            output=self._projection(f"{attention}o_proj", hidden, queries, biased=spec.output_bias),
            attention_post_norm=after_attention if spec.post_norms else None,
            mlp_norm=(
                self._gain(f"{prefix}pre_feedforward_layernorm", hidden)
                if spec.post_norms
                else after_attention
            ),
            mlp=self._gated(mlp) if spec.routing is None else self._experts(mlp, spec.routing),
            mlp_post_norm=(
                self._gain(f"{prefix}post_feedforward_layernorm", hidden)
                if spec.post_norms
                else None
            ),
        )

    def _tensor(self, name: str, *shape: int) -> Tensor:
        return self.checkpoint.take(name, shape).to(self.device, self.dtype)

    def _gain(self, name: str, size: int) -> Tensor:
        """Of a norm, in float32: with an offset, half precision would not hold it."""
        stored = self.checkpoint.take(f"{name}.weight", (size,))
        return stored.to(self.device, torch.float32) + self.spec.gain_offset

    def _gated(self, prefix: str) -> GatedWeights:
        spec = self.spec
        hidden, wide, biased = spec.hidden_size, spec.intermediate_size, spec.mlp_bias
        return GatedWeights(
            gate=self._projection(f"{prefix}gate_proj", wide, hidden, biased=biased),
            up=self._projection(f"{prefix}up_proj", wide, hidden, biased=biased),
            down=self._projection(f"{prefix}down_proj", hidden, wide, biased=biased),
        )

    def _experts(self, prefix: str, routing: Routing) -> ExpertWeights:
        spec, count = self.spec, routing.experts
        if spec.expert_format == "separate":
            return ExpertWeights(
                router=self._projection(f"{prefix}gate", count, spec.hidden_size, biased=False),
                experts=[self._gated(f"{prefix}experts.{number}.") for number in range(count)],
            )
        fused = FusedExperts(
            take=lambda name, shape: self._tensor(name, *shape),
            take_bytes=lambda name, shape: self.checkpoint.take_bytes(name, shape).to(self.device),
            experts=count,
            hidden=spec.hidden_size,
            wide=spec.intermediate_size,
            four_bits=spec.expert_format == "mxfp4",
            keeps_four_bits=self.keeps_four_bits,
        )
        return ExpertWeights(
            router=self._projection(f"{prefix}router", count, spec.hidden_size, biased=True),
            experts=fused.read(f"{prefix}experts."),
        )

    def _sinks(self, prefix: str) -> Tensor:
        stored = self.checkpoint.take(f"{prefix}sinks", (self.spec.num_heads,))
        return stored.to(self.device, torch.float32)

    def _projection(self, name: str, out: int, into: int, *, biased: bool) -> Projection:
        weight = self._tensor(f"{name}.weight", out, into)
        return Projection(weight, self._tensor(f"{name}.bias", out) if biased else None)

    def _qkv(self, prefix: str) -> Projection:
        spec = self.spec
        queries, keys = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        parts = [
            self._projection(f"{prefix}{part}", size, spec.hidden_size, biased=spec.qkv_bias)
            for part, size in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys))
        ]
        return together(parts)

    def _qk_norm(self, prefix: str) -> Tensor:
        spec = self.spec
        query_gain = self._gain(f"{prefix}q_norm", spec.head_dim)
        key_gain = self._gain(f"{prefix}k_norm", spec.head_dim)
        gains = [query_gain.expand(spec.num_heads, -1), key_gain.expand(spec.num_kv_heads, -1)]
        return torch.cat(gains)


def _refuse_spare(names: list[str], spec: ModelSpec) -> None:
    """Refuse tensors that nothing uses, but for those known to repeat what is said elsewhere."""
    spare = [
        name
        for name in names
        if not name.endswith("rotary_emb.inv_freq")
        and not (name == "lm_head.weight" and spec.tie_word_embeddings)
    ]
    if spare:
        shown = ", ".join(spare[:5]) + (f" and {len(spare) - 5} more" if len(spare) > 5 else "")
        raise ModelLoadError(f"Weights: config.json leaves no use for {shown}.")
