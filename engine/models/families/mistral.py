"""Mistral: the plain decoder; older ones with one sliding window for all layers."""

from __future__ import annotations

from engine.errors import ModelLoadError
from engine.models.config_file import ConfigFile
from engine.models.families.traits import Family, Traits, sliding_window


def read(config: ConfigFile, num_layers: int) -> Traits:
    """One `sliding_window` for every layer."""
    if config.strings("layer_types") is not None:
        raise ModelLoadError(f"{config.source}: Mistral with `layer_types` is not supported.")
    return Traits(layer_windows=(sliding_window(config),) * num_layers)


FAMILY = Family(read, num_kv_heads=8)
