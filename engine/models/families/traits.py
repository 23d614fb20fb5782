"""What sets one family of models apart from another.

Knows nothing of the sizes that all of them spell alike; `engine.models.spec` reads those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from engine.errors import ModelLoadError
from engine.models.activation import ACTIVATIONS, Activation
from engine.models.config_file import ConfigFile
from engine.models.rope import RopeSpec, read_rope

ExpertFormat = Literal["separate", "fused", "mxfp4"]
"""How a checkpoint has its experts: a tensor for each projection of each expert; one for all
experts' gates and values, in turn, and one for what they come down by; or these in four bits."""


@dataclass(frozen=True, slots=True)
class Routing:
    """A mixture of experts: how many there are, and how many of them a token takes.

    `normalized`: what a token takes of its experts adds up to one; else to less, for the softmax is
    over all of them.
    """

    experts: int
    per_token: int
    normalized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How one model of the family differs from the plain decoder.

    Attributes:
        layer_windows: one entry per layer: how many tokens back, itself included, a token sees;
            None sees all.
        qkv_bias, output_bias, mlp_bias: which products have a bias.
        qk_norm: queries and keys are normalized per head.
        post_norms: what attention and MLP give is normalized before it is added.
        gain_offset: added to the gain of every norm as it is stored.
        embedding_scale: what embeddings are multiplied by on their way in.
        attention_scale: of scores; None is one by the root of a head's size.
        sinks: heads have a learned score that takes weight from the keys.
        routing: of the experts that stand in place of an MLP; None is one MLP.
        expert_format: see `engine.models.expert_weights`.
        attention_cap, logit_cap: soft caps `c tanh(x / c)` of scores and of logits; None is none.
    """

    layer_windows: tuple[int | None, ...]
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    gain_offset: float = 0.0
    embedding_scale: float = 1.0
    attention_scale: float | None = None
    sinks: bool = False
    routing: Routing | None = None
    expert_format: ExpertFormat = "separate"
    attention_cap: float | None = None
    logit_cap: float | None = None


class Ropes(NamedTuple):
    """Rotary embeddings of the layers that see all, and of those with a window."""

    full: RopeSpec
    windowed: RopeSpec


def one_rope(config: ConfigFile, max_position_embeddings: int, *, theta: float = 10_000.0) -> Ropes:
    """The same for all layers; `theta` is what an absent one means."""
    rope = read_rope(config, max_position_embeddings, theta=theta)
    return Ropes(rope, rope)


@dataclass(frozen=True, slots=True)
class Family:
    """A family: how to read its traits, and its defaults for keys that all families have.

    `num_kv_heads`, `head_dim` and `dtype` are what an absent key means; None derives it (as many as
    heads; hidden size by heads). `activation_key` is where the gates' activation stands, in the
    names of `activations`; `intermediate_key` where the size of an MLP, or of one expert.
    `quantizations` are the methods by which its weights may have been rounded.
    """

    read: Callable[[ConfigFile, int], Traits]
    num_kv_heads: int | None = None
    head_dim: int | None = None
    tie_word_embeddings: bool = False
    activation_key: str = "hidden_act"
    activation: str = "silu"
    activations: Mapping[str, Activation] = field(default_factory=lambda: ACTIVATIONS)
    intermediate_key: str = "intermediate_size"
    read_ropes: Callable[[ConfigFile, int], Ropes] = one_rope
    quantizations: frozenset[str] = frozenset()
    dtype: str = "float32"


def read_routing(config: ConfigFile, *, per_token: int, normalized: bool) -> Routing:
    """`per_token` is what an absent key means.

    Raises:
        ModelLoadError: a token would take more experts than there are.
    """
    # Both spellings are written, by versions of one library.
    experts = config.size("num_experts", config.size("num_local_experts", 128))
    per_token = config.size("num_experts_per_tok", per_token)
    if per_token > experts:
        raise ModelLoadError(
            f"{config.source}: `num_experts_per_tok` is {per_token}, of {experts} experts."
        )
    return Routing(experts, per_token, normalized)


def sliding_window(config: ConfigFile, absent: int = 4096) -> int | None:
    """`sliding_window` in tokens: null sees all; `absent` is what an absent key means."""
    return config.size("sliding_window", absent) if not config.is_null("sliding_window") else None


def mixed_windows(config: ConfigFile, num_layers: int) -> tuple[int | None, ...]:
    """Windows of the Qwen families, where a part of the layers may have one."""
    window = sliding_window(config)
    uses = config.get_or("use_sliding_window", False) and window is not None
    first = config.get_or("max_window_layers", 28) if uses else num_layers
    slides = [layer >= first for layer in range(num_layers)]
    return windows_of_kinds(config, slides, window if uses else None)


def windows_of_kinds(
    config: ConfigFile, slides: Sequence[bool], window: int | None
) -> tuple[int | None, ...]:
    """The window of each layer: those that `layer_types` says, or else `slides`, have one.

    Raises:
        ModelLoadError: `layer_types` has another length, or kinds of layers that are not supported.
    """
    kinds = config.strings("layer_types")
    if kinds is None:
        return tuple(window if slide else None for slide in slides)
    if len(kinds) != len(slides):
        raise ModelLoadError(f"{config.source}: `layer_types` has {len(kinds)} of {len(slides)}.")
    unknown = set(kinds) - {"sliding_attention", "full_attention"}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ModelLoadError(f"{config.source}: layers of type {names} are not supported.")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
