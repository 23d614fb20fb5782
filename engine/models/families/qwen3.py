"""Qwen3 (dense): queries and keys are normalized per head; no biases by default."""

from __future__ import annotations

from engine.models.config_file import ConfigFile
from engine.models.families.traits import Family, Traits, mixed_windows


def read(config: ConfigFile, num_layers: int) -> Traits:
    """`attention_bias` puts a bias on all four attention projections."""
    bias = config.get_or("attention_bias", False)
    return Traits(
        layer_windows=mixed_windows(config, num_layers),
        qkv_bias=bias,
        output_bias=bias,
        qk_norm=True,
    )


FAMILY = Family(read, num_kv_heads=32, head_dim=128)
