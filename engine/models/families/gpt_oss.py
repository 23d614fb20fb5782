"""gpt-oss: experts in every layer, their gates bounded, attention with sinks, and a window on every
other layer."""

from __future__ import annotations

from functools import partial

from engine.errors import ModelLoadError
from engine.models.activation import CLAMP, CLAMPED_SLOPE
from engine.models.config_file import ConfigFile
from engine.models.families.traits import (
    Family,
    Traits,
    one_rope,
    read_routing,
    sliding_window,
    windows_of_kinds,
)


def read(config: ConfigFile, num_layers: int) -> Traits:
    """Gates with other bounds than those of the published models are refused."""
    for key, only in (("swiglu_limit", CLAMP), ("swiglu_alpha", CLAMPED_SLOPE)):
        if config.get_or(key, only) != only:
            raise ModelLoadError(f"{config.source}: `{key}` other than {only} is not supported.")
    slides = [layer % 2 == 0 for layer in range(num_layers)]
    biased = config.get_or("attention_bias", True)
    return Traits(
        layer_windows=windows_of_kinds(config, slides, sliding_window(config, 128)),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=True,
        sinks=True,
        routing=read_routing(config, per_token=4, normalized=True),
        expert_format="fused" if config.section("quantization_config") is None else "mxfp4",
    )


FAMILY = Family(
    read,
    num_kv_heads=8,
    head_dim=64,
    activations={"silu": "clamped"},
    read_ropes=partial(one_rope, theta=150_000.0),
    quantizations=frozenset({"mxfp4"}),
    dtype="bfloat16",  # that of all published weights that are not in four bits
)
