"""Qwen3 with experts: as Qwen3, with a mixture of experts in place of every MLP."""

from __future__ import annotations

from dataclasses import replace

from engine.errors import ModelLoadError
from engine.models.config_file import ConfigFile
from engine.models.families import qwen3
from engine.models.families.traits import Family, Routing, Traits, checked_routing


def read(config: ConfigFile, num_layers: int) -> Traits:
    """Models whose layers are experts in part only are refused: none is published."""
    if config.get_or("decoder_sparse_step", 1) != 1:
        raise ModelLoadError(
            f"{config.source}: `decoder_sparse_step` other than 1 is not supported."
        )
    if config.ids("mlp_only_layers"):
        raise ModelLoadError(f"{config.source}: `mlp_only_layers` is not supported.")
    return replace(qwen3.read(config, num_layers), routing=_routing(config))


def _routing(config: ConfigFile) -> Routing:
    # Both spellings are written, by versions of one library.
    experts = config.size("num_experts", config.size("num_local_experts", 128))
    return checked_routing(
        config,
        experts=experts,
        per_token=config.size("num_experts_per_tok", 8),
        normalized=config.get_or("norm_topk_prob", False),
    )


FAMILY = Family(read, num_kv_heads=4, intermediate_key="moe_intermediate_size")
