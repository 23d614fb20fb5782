"""What follows from the configuration, the model and the machine, before anything is loaded.

Every `auto` and every None ends here. Knows nothing of how a device computes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.attention.backend import AttentionShape
from engine.attention.kv_cache import KVCache, blocks_that_fit
from engine.config import EngineConfig
from engine.execution.cpu_kernels import can_multiply_bfloat16
from engine.execution.machine import default_dtype, free_bytes, resolve_device
from engine.execution.offered import check_offered
from engine.models.spec import ModelSpec, load_spec

_CPU_CACHE_BYTES = 2**30
"""What the cache takes of a CPU's memory at most, unless one sequence alone needs more or the
operator names a size."""

_STEP_TOKENS = {"cpu": 1024, "cuda": 4096}
"""Tokens of one step: about a tenth of a second of work for a model that suits the device."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One engine's decisions. `dtype` is that of weights and activations."""

    config: EngineConfig
    spec: ModelSpec
    device: torch.device
    dtype: torch.dtype
    kv_dtype: torch.dtype
    max_model_len: int
    max_num_batched_tokens: int
    batch_invariant: bool

    @property
    def model_dir(self) -> Path:
        return Path(self.config.model)


def attention_shape(spec: ModelSpec) -> AttentionShape:
    """What attention must know of a model."""
    return AttentionShape(
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        scale=spec.attention_scale or spec.head_dim**-0.5,
        windows=spec.layer_windows,
        cap=spec.attention_cap,
    )


def resolve(config: EngineConfig) -> Setup:
    """Look at the machine and at the model's directory.

    Raises:
        EngineError: the model cannot be read, or what is asked for is not offered on the device.
    """
    device = resolve_device(config.device)
    spec = load_spec(Path(config.model))
    dtype = _dtype(config, spec, device)
    on_gpu = device.type == "cuda"
    check_offered(config, dtype, torch.cuda.get_device_capability(device) if on_gpu else None)
    invariant = config.batch_invariant
    return Setup(
        config=config,
        spec=spec,
        device=device,
        dtype=dtype,
        kv_dtype=_kv_dtype(config, dtype),
        max_model_len=_max_model_len(config, spec),
        max_num_batched_tokens=config.max_num_batched_tokens or _STEP_TOKENS[device.type],
        batch_invariant=not on_gpu if invariant is None else invariant,
    )


def weight_bytes(model_dir: Path) -> int:
    """Size of a model's weights files."""
    return sum(file.stat().st_size for file in model_dir.glob("*.safetensors"))


def make_cache(setup: Setup) -> KVCache:
    """The cache, once the weights are loaded: as many blocks as fit; on a CPU, which has other
    work, no more than a modest share of memory.

    Raises:
        EngineFault: there is no room for one sequence of full length.
    """
    config, spec, device = setup.config, setup.spec, setup.device
    bytes_per_token = spec.kv_bytes_per_token(setup.kv_dtype)
    most_tokens = config.max_num_sequences * setup.max_model_len
    if device.type == "cpu":
        least = _CPU_CACHE_BYTES // bytes_per_token
        most_tokens = min(most_tokens, max(setup.max_model_len, least))
    num_blocks = blocks_that_fit(
        bytes_free=free_bytes(device, config.memory_fraction),
        bytes_per_token=bytes_per_token,
        block_size=config.block_size,
        most_tokens=config.kv_cache_tokens or most_tokens,
        least_tokens=min(setup.max_model_len, config.kv_cache_tokens or setup.max_model_len),
    )
    return KVCache(
        num_layers=spec.num_layers,
        num_blocks=num_blocks,
        block_size=config.block_size,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        dtype=setup.kv_dtype,
        device=device,
    )


def _max_model_len(config: EngineConfig, spec: ModelSpec) -> int:
    """The shortest of what the model, the operator and the cache allow."""
    limits = (spec.max_position_embeddings, config.max_model_len, config.kv_cache_tokens)
    return min(limit for limit in limits if limit is not None)


def _dtype(config: EngineConfig, spec: ModelSpec, device: torch.device) -> torch.dtype:
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    on_cpu = device.type == "cpu"
    kernels = on_cpu and can_multiply_bfloat16(config, spec, attention_shape(spec))
    size = weight_bytes(Path(config.model))
    dtype = default_dtype(spec.dtype, size, device, kernels=kernels)
    log.info("computing in %s", str(dtype).removeprefix("torch."))
    return dtype


def _kv_dtype(config: EngineConfig, dtype: torch.dtype) -> torch.dtype:
    return dtype if config.kv_cache_dtype == "auto" else torch.float8_e4m3fn
