"""Qwen2 and Qwen2.5: biases on queries, keys and values; a window on the upper layers if used."""

from __future__ import annotations

from engine.models.config_file import ConfigFile
from engine.models.families.traits import Family, Traits, mixed_windows


def read(config: ConfigFile, num_layers: int) -> Traits:
    """The biases are not a choice of the config: they are always there."""
    return Traits(layer_windows=mixed_windows(config, num_layers), qkv_bias=True)


FAMILY = Family(read, num_kv_heads=32)
