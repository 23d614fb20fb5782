"""What sets one family of models apart from another.

Knows nothing of the sizes that all of them spell alike; `engine.models.spec` reads those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import ModelLoadError
from engine.models.config_file import ConfigFile


@dataclass(frozen=True, slots=True)
class Traits:
    """How one model of the family differs from the plain decoder.

    `layer_windows` has one entry per layer: how many tokens back, itself included, a token sees;
    None sees all.
    """

    layer_windows: tuple[int | None, ...]
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A family: how to read its traits, and its defaults for keys that all families have.

    `num_kv_heads` and `head_dim` are what an absent key means; None derives it (as many as heads;
    hidden size by heads).
    """

    read: Callable[[ConfigFile, int], Traits]
    num_kv_heads: int | None = None
    head_dim: int | None = None


def sliding_window(config: ConfigFile) -> int | None:
    """`sliding_window` in tokens: null sees all; absent means 4096, as Hugging Face has it."""
    return config.size("sliding_window", 4096) if not config.is_null("sliding_window") else None


def mixed_windows(config: ConfigFile, num_layers: int) -> tuple[int | None, ...]:
    """Windows of the Qwen families, where a part of the layers may have one."""
    window = sliding_window(config)
    uses = config.get_or("use_sliding_window", False) and window is not None
    kinds = config.strings("layer_types")
    if kinds is None:
        first = config.get_or("max_window_layers", 28) if uses else num_layers
        kinds = tuple(
            "sliding_attention" if layer >= first else "full_attention"
            for layer in range(num_layers)
        )
    if len(kinds) != num_layers:
        raise ModelLoadError(f"{config.source}: `layer_types` has {len(kinds)} of {num_layers}.")
    unknown = set(kinds) - {"sliding_attention", "full_attention"}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ModelLoadError(f"{config.source}: layers of type {names} are not supported.")
    return tuple(window if uses and kind == "sliding_attention" else None for kind in kinds)
