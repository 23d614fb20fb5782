"""Qwen3 with experts: as Qwen3, with a mixture of experts in place of every MLP."""

from __future__ import annotations

from dataclasses import replace

from engine.errors import ModelLoadError
from engine.models.config_file import ConfigFile
from engine.models.families import qwen3
from engine.models.families.traits import Family, Traits, read_routing


def read(config: ConfigFile, num_layers: int) -> Traits:
    """Models whose layers are experts in part only are refused: none is published."""
    if config.get_or("decoder_sparse_step", 1) != 1:
        raise ModelLoadError(
            f"{config.source}: `decoder_sparse_step` other than 1 is not supported."
        )
    if config.ids("mlp_only_layers"):
        raise ModelLoadError(f"{config.source}: `mlp_only_layers` is not supported.")
    routing = read_routing(config, per_token=8, normalized=config.get_or("norm_topk_prob", False))
    return replace(qwen3.read(config, num_layers), routing=routing)


FAMILY = Family(read, num_kv_heads=4, intermediate_key="moe_intermediate_size")
