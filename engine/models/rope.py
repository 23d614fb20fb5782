"""Rotary position embedding: what config.json says of it, and the frequencies that follow.

Frequencies are computed in float32 in the order Hugging Face computes them
(`transformers/modeling_rope_utils.py`), so that both agree to the last bits. Knows nothing of
heads or of where the rotation is applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from engine.errors import ModelLoadError
from engine.models.config_file import ConfigFile

RopeKind = Literal["default", "linear", "llama3", "yarn"]

_COMMON_KEYS = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "original_max_position_embeddings",  # some write it where it has no effect
    }
)
_KEYS_OF_KIND: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor"}),
    "yarn": frozenset(
        {
            "factor",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
            "finetuned",  # a remark of some checkpoints, without effect
        }
    ),
}


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """How positions become angles. Fields beyond `theta` matter only to the kinds that use them.

    `original_context` is the training context, in tokens, that the scaling starts from;
    `magnitude` multiplies cosines and sines (YaRN's attention factor).
    """

    kind: RopeKind = "default"
    theta: float = 10_000.0
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    magnitude: float = 1.0


def read_rope(
    config: ConfigFile, max_position_embeddings: int, *, theta: float = 10_000.0
) -> RopeSpec:
    """Read `rope_parameters`, or the older `rope_theta` with `rope_scaling`; `theta` is what an
    absent one means.

    Raises:
        ModelLoadError: a kind or a key of rotary embedding that is not supported.
    """
    theta = config.get_or("rope_theta", theta)
    section = config.section("rope_scaling") or config.section("rope_parameters")
    if section is None:
        _refuse_partial(config)
        return RopeSpec(theta=theta)
    return read_rope_section(config, section, theta, max_position_embeddings)


def read_rope_section(
    config: ConfigFile, section: ConfigFile, theta: float, max_position_embeddings: int
) -> RopeSpec:
    """Read one object of rotary parameters; see `read_rope`."""
    _refuse_partial(config, section)
    theta = section.get_or("rope_theta", theta)
    kind = section.get("rope_type", str) or section.get_or("type", "default")
    if kind not in _KEYS_OF_KIND:
        raise ModelLoadError(
            f"{section.source}: rotary embedding of type '{kind}' is not supported "
            f"(supported: {', '.join(_KEYS_OF_KIND)})."
        )
    unknown = section.keys() - _COMMON_KEYS - _KEYS_OF_KIND[kind]
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ModelLoadError(f"{section.source}: not supported with type '{kind}': {names}.")
    original = (
        config.get("original_max_position_embeddings", int)
        or section.get("original_max_position_embeddings", int)
        or max_position_embeddings
    )
    match kind:
        case "linear":
            return RopeSpec("linear", theta, section.positive("factor"))
        case "llama3":
            return RopeSpec(
                "llama3",
                theta,
                section.positive("factor"),
                original,
                low_freq_factor=section.need("low_freq_factor", float),
                high_freq_factor=section.need("high_freq_factor", float),
            )
        case "yarn":
            return _read_yarn(section, theta, original, max_position_embeddings)
        case _:
            return RopeSpec(theta=theta)


def _read_yarn(
    section: ConfigFile, theta: float, original: int, max_position_embeddings: int
) -> RopeSpec:
    has_factor = section.get("factor", float) is not None
    factor = section.positive("factor") if has_factor else max_position_embeddings / original
    return RopeSpec(
        "yarn",
        theta,
        factor,
        original,
        beta_fast=section.get("beta_fast", float) or 32.0,
        beta_slow=section.get("beta_slow", float) or 1.0,
        truncate=section.get_or("truncate", True),
        magnitude=_yarn_magnitude(section, factor),
    )


def _yarn_magnitude(section: ConfigFile, factor: float) -> float:
    """The attention factor as given, or as the YaRN paper derives it from the scaling factor."""
    given = section.get("attention_factor", float)
    if given is not None:
        return given
    mscale, all_dim = section.get("mscale", float), section.get("mscale_all_dim", float)
    growth = 0.1 * math.log(factor) if factor > 1 else 0.0
    if mscale and all_dim:
        return (mscale * growth + 1.0) / (all_dim * growth + 1.0)
    return growth + 1.0


def _refuse_partial(*sections: ConfigFile) -> None:
    for section in sections:
        part = section.get_or("partial_rotary_factor", 1.0)
        if part != 1.0:
            raise ModelLoadError(
                f"{section.source}: rotating a part of a head is not supported "
                f"(`partial_rotary_factor` is {part})."
            )


def rotation_tables(
    rope: RopeSpec, head_dim: int, max_len: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every angle: two float32 tensors `[max_len, head_dim / 2]`."""
    positions = torch.arange(max_len, dtype=torch.float32)
    angles = torch.outer(positions, inverse_frequencies(rope, head_dim))
    return angles.cos() * rope.magnitude, angles.sin() * rope.magnitude


def inverse_frequencies(rope: RopeSpec, head_dim: int) -> torch.Tensor:
    """Radians per position of each pair: float32 `[head_dim / 2]`."""
    periods = rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    match rope.kind:
        case "linear":
            return 1.0 / periods / rope.factor
        case "llama3":
            return _llama3(rope, 1.0 / periods)
        case "yarn":
            return _yarn(rope, periods, head_dim)
        case "default":
            return 1.0 / periods


def _llama3(rope: RopeSpec, frequencies: torch.Tensor) -> torch.Tensor:
    """Llama 3.1: keep short waves, stretch long ones, blend between (Meta's reference code)."""
    wavelengths = 2 * math.pi / frequencies
    longest = rope.original_context / rope.low_freq_factor
    shortest = rope.original_context / rope.high_freq_factor
    blend = (rope.original_context / wavelengths - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    blended = (1 - blend) * frequencies / rope.factor + blend * frequencies
    stretched = torch.where(wavelengths > longest, frequencies / rope.factor, blended)
    return torch.where(wavelengths < shortest, frequencies, stretched)


def _yarn(rope: RopeSpec, periods: torch.Tensor, head_dim: int) -> torch.Tensor:
    """YaRN (arXiv 2309.00071): interpolate slow pairs, keep fast ones, ramp between."""

    def pair_that_turns(times: float) -> float:
        """Which pair makes this many turns within the original context."""
        turns = math.log(rope.original_context / (times * 2 * math.pi))
        return head_dim * turns / (2 * math.log(rope.theta))

    low, high = pair_that_turns(rope.beta_fast), pair_that_turns(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low or 0.001
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    keep = 1 - ramp
    return 1.0 / (rope.factor * periods) * (1 - keep) + 1.0 / periods * keep
