"""Puts the parts of an engine together from its configuration.

The only place that knows all the parts; it knows nothing of what they do.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from engine.attention.backend import AttentionBackend, AttentionShape, ReferenceAttention
from engine.attention.cpu import CpuAttention
from engine.attention.forward_batch import BlockTables
from engine.attention.kv_cache import KVCache, blocks_that_fit
from engine.attention.native import NativeAttention, can_attend
from engine.config import EngineConfig
from engine.errors import EngineFault
from engine.execution.machine import cpu_threads, free_bytes, resolve_device
from engine.execution.model_runner import ModelRunner
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.masks import GrammarMasks
from engine.models.decoder import Decoder
from engine.models.native_decoder import NativeDecoder, can_decode
from engine.models.spec import ModelSpec, load_spec
from engine.models.weights import load_decoder, load_native_decoder
from engine.native.build import built_library
from engine.native.kernels import Kernels
from engine.sampling.sampler import Sampler
from engine.scheduling.blocks import BlockManager
from engine.scheduling.prefix_cache import PrefixCache
from engine.scheduling.scheduler import Scheduler
from engine.text.tokenizer import load_tokenizer
from engine.types import ModelCard
from engine.version import __version__

log = logging.getLogger(__name__)

_HASHED_BYTES = 64 * 2**20
"""Weights files above this size are named by size and date in the fingerprint, not by content."""


_CPU_CACHE_BYTES = 2**30
"""What the cache takes of a CPU's memory at most, unless one sequence alone needs more or the
operator names a size."""


class EngineParts(NamedTuple):
    """What an `EngineCore` is made of."""

    model: ModelCard
    scheduler: Scheduler
    blocks: BlockManager
    runner: ModelRunner
    grammars: GrammarCompiler


def build_parts(config: EngineConfig, announce: Callable[[str], None]) -> EngineParts:
    """Load the model and make everything around it.

    Args:
        announce: told each phase as it begins.

    Raises:
        EngineError: the model cannot be loaded, or its cache does not fit.
    """
    announce("reading the model's configuration")
    device = resolve_device(config.device)
    speculative_tokens = _speculative_tokens(config, device)
    files = sorted(Path(config.model).glob("*.safetensors"))
    if device.type == "cpu":
        size = sum(file.stat().st_size for file in files)
        torch.set_num_threads(cpu_threads(config.threads, size))
    spec = load_spec(Path(config.model))
    dtype = _dtype(config, spec, device)
    max_model_len = _max_model_len(config, spec)
    kernels = None
    if can_attend(_attention_shape(spec), config.block_size, dtype):
        kernels = load_kernels(config, device, announce)
    announce("loading weights")
    decoder = _decoder(config, spec, kernels, dtype, device, max_model_len)
    announce("making the key-value cache")
    num_blocks = _num_blocks(config, spec, dtype, device, max_model_len)
    prefix_cache = PrefixCache(config.block_size) if config.prefix_cache else None
    blocks = BlockManager(num_blocks, config.block_size, prefix_cache)
    scheduler = Scheduler(
        blocks,
        max_num_sequences=config.max_num_sequences,
        max_num_batched_tokens=config.max_num_batched_tokens,
        max_model_len=max_model_len,
        speculative_tokens=speculative_tokens,
    )
    runner = _runner(config, spec, decoder, kernels, dtype, device, num_blocks, max_model_len)
    return EngineParts(
        _card(config, spec, files, f"{dtype} {device.type} {kernels is not None}", max_model_len),
        scheduler,
        blocks,
        runner,
        GrammarCompiler(partial(load_tokenizer, config.model), spec.vocab_size, spec.eos_token_ids),
    )


def _decoder(
    config: EngineConfig,
    spec: ModelSpec,
    kernels: Kernels | None,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
) -> Decoder | NativeDecoder:
    model = Path(config.model)
    invariant = _batch_invariant(config, device)  # as the compiled one always is
    if kernels is not None and can_decode(spec, dtype):
        return load_native_decoder(model, spec, kernels, dtype=dtype, max_model_len=max_model_len)
    return load_decoder(
        model,
        spec,
        dtype=dtype,
        device=device,
        max_model_len=max_model_len,
        batch_invariant=invariant,
    )


def _max_model_len(config: EngineConfig, spec: ModelSpec) -> int:
    """The shortest of what the model, the operator and the cache allow."""
    limits = (spec.max_position_embeddings, config.max_model_len, config.kv_cache_tokens)
    return min(limit for limit in limits if limit is not None)


def _batch_invariant(config: EngineConfig, device: torch.device) -> bool:
    """Raises `EngineFault` where the promise is asked for but cannot be kept."""
    if device.type == "cpu":
        return config.batch_invariant is not False
    if config.batch_invariant:
        raise EngineFault("--batch-invariant is offered on a CPU only.")
    return False


def _speculative_tokens(config: EngineConfig, device: torch.device) -> int:
    """Raises `EngineFault` where tokens are to be guessed but each step waits for none."""
    if config.speculative_tokens and device.type != "cpu":
        raise EngineFault("--speculative-tokens is offered on a CPU only.")
    return config.speculative_tokens


def _dtype(config: EngineConfig, spec: ModelSpec, device: torch.device) -> torch.dtype:
    """`auto` is float32 on a CPU, where half precision is slow unless the processor has it."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    return torch.float32 if device.type == "cpu" else spec.dtype


def _num_blocks(
    config: EngineConfig,
    spec: ModelSpec,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
) -> int:
    """As many as fit; on a CPU, which has other work, no more than a modest share of memory."""
    bytes_per_token = spec.kv_bytes_per_token(dtype)
    most_tokens = config.max_num_sequences * max_model_len
    if device.type == "cpu":
        most_tokens = min(most_tokens, max(max_model_len, _CPU_CACHE_BYTES // bytes_per_token))
    return blocks_that_fit(
        bytes_free=free_bytes(device, config.memory_fraction),
        bytes_per_token=bytes_per_token,
        block_size=config.block_size,
        most_tokens=config.kv_cache_tokens or most_tokens,
        least_tokens=min(max_model_len, config.kv_cache_tokens or max_model_len),
    )


def _runner(
    config: EngineConfig,
    spec: ModelSpec,
    decoder: Decoder | NativeDecoder,
    kernels: Kernels | None,
    dtype: torch.dtype,
    device: torch.device,
    num_blocks: int,
    max_model_len: int,
) -> ModelRunner:
    cache = KVCache(
        num_layers=spec.num_layers,
        num_blocks=num_blocks,
        block_size=config.block_size,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        dtype=dtype,
        device=device,
    )
    return ModelRunner(
        decoder,
        _attention(_attention_shape(spec), cache, kernels, device),
        Sampler(),
        GrammarMasks(),
        BlockTables(config.max_num_sequences, -(-max_model_len // config.block_size)),
        block_size=config.block_size,
        vocab_size=spec.vocab_size,
        device=device,
    )


def _attention_shape(spec: ModelSpec) -> AttentionShape:
    return AttentionShape(
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        scale=spec.head_dim**-0.5,
        windows=spec.layer_windows,
    )


def _attention(
    shape: AttentionShape, cache: KVCache, kernels: Kernels | None, device: torch.device
) -> AttentionBackend:
    if device.type != "cpu":
        return ReferenceAttention(shape, cache)
    if kernels is not None:
        return NativeAttention(kernels, shape, cache)
    return CpuAttention(shape, cache)


def load_kernels(
    config: EngineConfig, device: torch.device, announce: Callable[[str], None]
) -> Kernels | None:
    """The compiled kernels, where they are wanted and can be had."""
    if device.type != "cpu" or not config.native_kernels:
        return None
    announce("compiling the CPU kernels")
    library = built_library()
    if library is None:
        return None
    try:
        return Kernels(library)
    except OSError as error:
        log.warning("the CPU kernels cannot be loaded, torch does their work: %s", error)
        return None


def _card(
    config: EngineConfig,
    spec: ModelSpec,
    files: list[Path],
    kind: str,
    max_model_len: int,
) -> ModelCard:
    return ModelCard(
        id=config.served_name,
        created=int(files[0].stat().st_mtime),
        max_model_len=max_model_len,
        vocab_size=spec.vocab_size,
        fingerprint=_fingerprint(config, files, kind),
        eos_token_ids=tuple(spec.eos_token_ids),
    )


def _fingerprint(config: EngineConfig, files: list[Path], kind: str) -> str:
    """Changes with the weights, the precision, the device, the versions and the mode."""
    digest = hashlib.sha256()
    mode = (__version__, torch.__version__, kind, config.batch_invariant, torch.get_num_threads())
    digest.update(repr(mode).encode())
    digest.update((Path(config.model) / "config.json").read_bytes())
    for file in files:
        status = file.stat()
        small = status.st_size <= _HASHED_BYTES
        digest.update(
            file.read_bytes() if small else f"{status.st_size} {status.st_mtime_ns}".encode()
        )
    return f"fp_{digest.hexdigest()[:12]}"
