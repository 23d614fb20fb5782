"""gpt-oss: experts in every layer, their gates bounded, attention with sinks, and a window on every
other layer."""

from __future__ import annotations

from engine.errors import ModelLoadError
from engine.models.activation import CLAMP, CLAMPED_SLOPE
from engine.models.config_file import ConfigFile
from engine.models.families.traits import (
    Family,
    Ropes,
    Traits,
    checked_routing,
    windows_of_kinds,
)
from engine.models.rope import read_rope


def read(config: ConfigFile, num_layers: int) -> Traits:
    """Gates with other bounds than those of the published models are refused."""
    for key, only in (("swiglu_limit", CLAMP), ("swiglu_alpha", CLAMPED_SLOPE)):
        if config.get_or(key, only) != only:
            raise ModelLoadError(f"{config.source}: `{key}` other than {only} is not supported.")
    window = None if config.is_null("sliding_window") else config.size("sliding_window", 128)
    slides = [layer % 2 == 0 for layer in range(num_layers)]
    biased = config.get_or("attention_bias", True)
    return Traits(
        layer_windows=windows_of_kinds(config, slides, window),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=True,
        sinks=True,
        routing=checked_routing(
            config,
            experts=config.size("num_local_experts", config.size("num_experts", 128)),
            per_token=config.size("num_experts_per_tok", 4),
            normalized=True,
        ),
        expert_format="fused" if config.section("quantization_config") is None else "mxfp4",
    )


def read_ropes(config: ConfigFile, max_position_embeddings: int) -> Ropes:
    """One for all layers, by a base of its own."""
    rope = read_rope(config, max_position_embeddings, theta=150_000.0)
    return Ropes(rope, rope)


FAMILY = Family(
    read,
    num_kv_heads=8,
    head_dim=64,
    activations={"silu": "clamped"},
    read_ropes=read_ropes,
    quantizations=frozenset({"mxfp4"}),
    dtype="bfloat16",  # that of all published weights that are not in four bits
)
