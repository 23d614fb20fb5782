"""The compiled kernels for a model on this machine's CPU: whether there will be any, and which.

Knows what they ask of a model and of the processor; nothing of what they compute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from engine.attention.backend import AttentionShape
from engine.attention.native import can_attend
from engine.config import EngineConfig
from engine.models.native_decoder import can_decode
from engine.models.spec import ModelSpec
from engine.native.build import built_library, can_be_built
from engine.native.kernels import Kernels
from engine.native.prebuilt import best_level
from engine.native.processor import processor_flags

log = logging.getLogger(__name__)


def can_multiply_bfloat16(config: EngineConfig, spec: ModelSpec, shape: AttentionShape) -> bool:
    """Whether steps in bfloat16 can be expected to be theirs, and fast: that was measured on
    processors with AVX2 or more only."""
    dtype = torch.bfloat16
    known = can_decode(spec, dtype) and can_attend(shape, config.block_size, dtype)
    there = config.native_kernels and can_be_built()
    return known and there and best_level(processor_flags()) is not None


def load_kernels(
    config: EngineConfig,
    shape: AttentionShape,
    dtype: torch.dtype,
    announce: Callable[[str], None],
) -> Kernels | None:
    """The kernels, compiled if need be; None where they are not wanted or cannot be had."""
    if not config.native_kernels or not can_attend(shape, config.block_size, dtype):
        return None
    announce("compiling the CPU kernels")
    library = built_library(shape.head_dim)
    if library is None:
        return None
    try:
        return Kernels(library)
    except OSError as error:
        log.warning("the CPU kernels cannot be loaded, torch does their work: %s", error)
        return None
