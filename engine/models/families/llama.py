"""Llama (2, 3 and kin): the plain decoder, with optional biases."""

from __future__ import annotations

from engine.models.config_file import ConfigFile
from engine.models.families.traits import Family, Traits


def read(config: ConfigFile, num_layers: int) -> Traits:
    """`attention_bias` puts a bias on all four attention projections."""
    bias = config.get_or("attention_bias", False)
    return Traits(
        layer_windows=(None,) * num_layers,
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=config.get_or("mlp_bias", False),
    )


FAMILY = Family(read)
