"""What a model's directory says of it, in one spelling.

All the spellings of Hugging Face's config.json end here. Knows nothing of weights or of how the
decoder computes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from engine.errors import ModelLoadError
from engine.models.activation import Activation
from engine.models.config_file import ConfigFile
from engine.models.families import FAMILIES
from engine.models.families.traits import Family, Traits
from engine.models.rope import RopeSpec

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(Traits):
    """Everything that distinguishes one decoder from another.

    Sizes are in elements, `intermediate_size` that of an MLP or of one expert; `rope` is that of
    layers that see all, `window_rope` that of the others; `dtype` is what the checkpoint was saved
    in; `eos_token_ids` may be empty.
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    activation: Activation
    rope: RopeSpec
    window_rope: RopeSpec
    max_position_embeddings: int
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    dtype: torch.dtype

    @property
    def layer_ropes(self) -> tuple[RopeSpec, ...]:
        """One per layer."""
        return tuple(
            self.rope if window is None else self.window_rope for window in self.layer_windows
        )

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of all layers that a token meets: it takes two operations for
        each."""
        heads = self.num_heads + self.num_kv_heads  # queries and outputs; keys and values
        attention = 2 * self.hidden_size * heads * self.head_dim
        mlp = 3 * self.hidden_size * self.intermediate_size
        if self.routing is not None:
            mlp = mlp * self.routing.per_token + self.hidden_size * self.routing.experts
        return self.num_layers * (attention + mlp)

    def kv_bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes that keys and values of one token take in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * dtype.itemsize


def load_spec(model_dir: Path) -> ModelSpec:
    """Read config.json, and generation_config.json where there is one.

    Raises:
        ModelLoadError: a file cannot be read, or asks for something that is not supported.
    """
    config = ConfigFile.read(model_dir / "config.json")
    name = config.need("model_type", str)
    family = FAMILIES.get(name)
    if family is None:
        raise ModelLoadError(
            f"Models of type '{name}' are not supported (supported: {', '.join(FAMILIES)})."
        )
    _refuse_quantized(config, family)
    num_layers = config.size("num_hidden_layers")
    traits = family.read(config, num_layers)
    num_heads, num_kv_heads, head_dim = _heads(config, family)
    max_positions = config.size("max_position_embeddings")
    ropes = family.read_ropes(config, max_positions)
    return ModelSpec(
        **{field.name: getattr(traits, field.name) for field in fields(traits)},
        family=name,
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        intermediate_size=config.size(family.intermediate_key),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=config.get_or("rms_norm_eps", 1e-6),
        activation=_activation(config, family),
        rope=ropes.full,
        window_rope=ropes.windowed,
        max_position_embeddings=max_positions,
        tie_word_embeddings=config.get_or("tie_word_embeddings", family.tie_word_embeddings),
        bos_token_id=config.get("bos_token_id", int),
        eos_token_ids=_eos_token_ids(model_dir, config),
        dtype=_dtype(config, family),
    )


def _activation(config: ConfigFile, family: Family) -> Activation:
    name = config.get_or(family.activation_key, family.activation)
    if name not in family.activations:
        raise ModelLoadError(
            f"{config.source}: activation '{name}' is not supported "
            f"(supported: {', '.join(family.activations)})."
        )
    return family.activations[name]


def _refuse_quantized(config: ConfigFile, family: Family) -> None:
    quantized = config.section("quantization_config")
    if quantized is None:
        return
    method = quantized.get_or("quant_method", "unknown")
    if method not in family.quantizations:
        raise ModelLoadError(f"{config.source}: quantized weights ({method}) are not supported.")


def _heads(config: ConfigFile, family: Family) -> tuple[int, int, int]:
    """Query heads, key-value heads, and the size of one."""
    num_heads = config.size("num_attention_heads")
    absent = num_heads if config.is_null("num_key_value_heads") else family.num_kv_heads
    num_kv_heads = config.size("num_key_value_heads", absent or num_heads)
    if num_heads % num_kv_heads:
        raise ModelLoadError(
            f"{config.source}: {num_heads} heads cannot share {num_kv_heads} key-value heads."
        )
    derived = family.head_dim or config.size("hidden_size") // num_heads
    head_dim = config.size("head_dim", derived)
    if head_dim % 2:
        raise ModelLoadError(f"{config.source}: `head_dim` should be even, is {head_dim}.")
    return num_heads, num_kv_heads, head_dim


def _eos_token_ids(model_dir: Path, config: ConfigFile) -> tuple[int, ...]:
    """generation_config.json wins: chat models list all their ends only there."""
    path = model_dir / "generation_config.json"
    ids = ConfigFile.read(path).ids("eos_token_id") if path.exists() else None
    return ids or config.ids("eos_token_id") or ()


def _dtype(config: ConfigFile, family: Family) -> torch.dtype:
    name = config.get("dtype", str) or config.get_or("torch_dtype", family.dtype)
    if name not in _DTYPES:
        raise ModelLoadError(f"{config.source}: weights of type '{name}' are not supported.")
    return _DTYPES[name]
