"""Gemma 2 and the text models of Gemma 3: norms before and after attention and MLP, gains stored
less one, scaled embeddings, windows on most layers.

Gemma 2 caps scores and logits; Gemma 3 normalizes queries and keys instead, and its layers with a
window rotate by a base of their own.
"""

from __future__ import annotations

from dataclasses import replace

from engine.errors import ModelLoadError
from engine.models.config_file import ConfigFile
from engine.models.families.traits import (
    Family,
    Ropes,
    Traits,
    sliding_window,
    windows_of_kinds,
)
from engine.models.rope import RopeSpec, read_rope, read_rope_section


def read_gemma2(config: ConfigFile, num_layers: int) -> Traits:
    """Every other layer has a window, beginning with the first."""
    return _read(config, num_layers, period=2, caps=(50.0, 30.0), qk_norm=False)


def read_gemma3(config: ConfigFile, num_layers: int) -> Traits:
    """All layers but every sixth, or what `sliding_window_pattern` says, have a window."""
    period = config.size("sliding_window_pattern", 6)
    return _read(config, num_layers, period=period, caps=(None, None), qk_norm=True)


def _read(
    config: ConfigFile,
    num_layers: int,
    *,
    period: int,
    caps: tuple[float | None, float | None],
    qk_norm: bool,
) -> Traits:
    if config.get_or("use_bidirectional_attention", False):
        raise ModelLoadError(f"{config.source}: `use_bidirectional_attention` is not supported.")
    bias = config.get_or("attention_bias", False)
    slides = [bool((layer + 1) % period) for layer in range(num_layers)]
    return Traits(
        layer_windows=windows_of_kinds(config, slides, sliding_window(config)),
        qkv_bias=bias,
        output_bias=bias,
        qk_norm=qk_norm,
        post_norms=True,
        gain_offset=1.0,
        embedding_scale=config.size("hidden_size") ** 0.5,
        attention_scale=config.positive("query_pre_attn_scalar", 256.0) ** -0.5,
        attention_cap=_cap(config, "attn_logit_softcapping", caps[0]),
        logit_cap=_cap(config, "final_logit_softcapping", caps[1]),
    )


def _cap(config: ConfigFile, key: str, absent: float | None) -> float | None:
    """Null is none."""
    if config.is_null(key) or (absent is None and config.get(key, float) is None):
        return None
    return config.positive(key, absent)


def read_gemma3_ropes(config: ConfigFile, max_position_embeddings: int) -> Ropes:
    """`rope_parameters` by kind of layer, or the older `rope_theta` with `rope_local_base_freq`."""
    kinds = config.section("rope_parameters")
    if kinds is None or kinds.section("full_attention") is None:
        full = read_rope(config, max_position_embeddings, theta=1e6)
        return Ropes(full, RopeSpec(theta=config.get_or("rope_local_base_freq", 10_000.0)))
    full, windowed = (
        read_rope_section(config, kinds.need_section(kind), theta, max_position_embeddings)
        for kind, theta in (("full_attention", 1e6), ("sliding_attention", 10_000.0))
    )
    return Ropes(full, windowed)


GEMMA2 = Family(
    read_gemma2,
    num_kv_heads=4,
    head_dim=256,
    tie_word_embeddings=True,
    activation_key="hidden_activation",
    activation="gelu_pytorch_tanh",
)
GEMMA3 = replace(GEMMA2, read=read_gemma3, read_ropes=read_gemma3_ropes)
