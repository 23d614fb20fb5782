"""From a checkpoint's tensors to a decoder: names, dtypes, fusing and packing.

The names are those of Hugging Face, which the supported families share. One layer is read, fused
and packed at a time, so that little more than the packed model is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import ModelLoadError
from engine.models.checkpoint import Checkpoint
from engine.models.decoder import Decoder, DecoderLayer
from engine.models.layers import RMSNorm, RotaryEmbedding
from engine.models.linear import Linear, make_linear
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
    kernels: Kernels | None = None,
    progress: Callable[[float], None] | None = None,
) -> Decoder:
    """Read the weights and build the decoder.

    Args:
        dtype: what to compute in, whatever the checkpoint was saved in.
        max_model_len: positions that the decoder must know, in tokens.
        batch_invariant: a row's result must not depend on the rows beside it.
        kernels: compiled forms of the small operations, where there are any.
        progress: told the share of layers that are done, 0 to 1.

    Raises:
        ModelLoadError: something is missing, spare, or of another shape than the config says.
    """
    with Checkpoint(model_dir) as checkpoint:
        loader = _Loader(checkpoint, spec, dtype, device, batch_invariant, kernels)
        layers: list[DecoderLayer] = []
        for number in range(spec.num_layers):
            layers.append(loader.layer(number))
            if progress is not None:
                progress(len(layers) / spec.num_layers)
        embedding = loader.tensor("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size)
        decoder = Decoder(
            spec,
            embedding=embedding,
            layers=layers,
            norm=loader.norm("model.norm", spec.hidden_size),
            head=loader.head(embedding),
            rotary=RotaryEmbedding(spec.rope, spec.head_dim, max_model_len, dtype, device),
        )
        _refuse_spare(checkpoint.not_taken(), spec)
    return decoder


@dataclass(frozen=True, slots=True)
class _Loader:
    """Takes tensors from the checkpoint and makes parts of the decoder."""

    checkpoint: Checkpoint
    spec: ModelSpec
    dtype: torch.dtype
    device: torch.device
    batch_invariant: bool
    kernels: Kernels | None

    def layer(self, number: int) -> DecoderLayer:
        spec, prefix = self.spec, f"model.layers.{number}."
        hidden, wide = spec.hidden_size, spec.intermediate_size
        queries = spec.num_heads * spec.head_dim
        return DecoderLayer(
            attention_norm=self.norm(f"{prefix}input_layernorm", hidden),
            qkv=self._qkv(f"{prefix}self_attn."),
            qk_norm=self._qk_norm(f"{prefix}self_attn.") if spec.qk_norm else None,
            output=self._linear(
                f"{prefix}self_attn.o_proj", hidden, queries, bias=spec.output_bias
            ),
            mlp_norm=self.norm(f"{prefix}post_attention_layernorm", hidden),
            gate=self._linear(f"{prefix}mlp.gate_proj", wide, hidden, bias=spec.mlp_bias),
            up=self._linear(f"{prefix}mlp.up_proj", wide, hidden, bias=spec.mlp_bias),
            down=self._linear(f"{prefix}mlp.down_proj", hidden, wide, bias=spec.mlp_bias),
        )

    def norm(self, name: str, size: int) -> RMSNorm:
        gain = self.tensor(f"{name}.weight", size)
        return RMSNorm(gain, self.spec.rms_norm_eps, self.kernels)

    def head(self, embedding: Tensor) -> Linear:
        """The output layer: the embedding table itself where the two are tied."""
        if self.spec.tie_word_embeddings:
            return make_linear(embedding, None, batch_invariant=self.batch_invariant)
        return self._linear("lm_head", self.spec.vocab_size, self.spec.hidden_size, bias=False)

    def tensor(self, name: str, *shape: int) -> Tensor:
        return self.checkpoint.take(name, shape).to(self.device, self.dtype)

    def _linear(self, name: str, wide: int, narrow: int, *, bias: bool) -> Linear:
        return make_linear(
            self.tensor(f"{name}.weight", wide, narrow),
            self.tensor(f"{name}.bias", wide) if bias else None,
            batch_invariant=self.batch_invariant,
        )

    def _qkv(self, prefix: str) -> Linear:
        """Queries, keys and values as one product: one call, and one pass over the input."""
        spec = self.spec
        queries, keys = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        parts = (("q_proj", queries), ("k_proj", keys), ("v_proj", keys))
        weights = [
            self.tensor(f"{prefix}{part}.weight", size, spec.hidden_size) for part, size in parts
        ]
        biases = [
            self.tensor(f"{prefix}{part}.bias", size) for part, size in parts if spec.qkv_bias
        ]
        return make_linear(
            torch.cat(weights),
            torch.cat(biases) if biases else None,
            batch_invariant=self.batch_invariant,
        )

    def _qk_norm(self, prefix: str) -> RMSNorm:
        spec = self.spec
        query_gain = self.tensor(f"{prefix}q_norm.weight", spec.head_dim)
        key_gain = self.tensor(f"{prefix}k_norm.weight", spec.head_dim)
        gains = [query_gain.expand(spec.num_heads, -1), key_gain.expand(spec.num_kv_heads, -1)]
        return RMSNorm(torch.cat(gains), spec.rms_norm_eps)


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
