"""Puts the parts of an engine together from its configuration.

The only place that knows all the parts; it knows nothing of what they do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from engine.config import EngineConfig
from engine.execution.loaded import Loaded
from engine.execution.runner import Runner
from engine.execution.setup import Setup, resolve
from engine.grammar.compiler import GrammarCompiler
from engine.scheduling.blocks import BlockManager
from engine.scheduling.prefix_cache import PrefixCache
from engine.scheduling.scheduler import Scheduler
from engine.text.tokenizer import load_tokenizer
from engine.types import ModelCard
from engine.version import __version__

Announce = Callable[[str], None]
"""Is told each phase of start-up as it begins."""

_HASHED_BYTES = 64 * 2**20
"""Weights files above this size are named by size and date in the fingerprint, not by content."""


class EngineParts(NamedTuple):
    """What an `EngineCore` is made of."""

    model: ModelCard
    scheduler: Scheduler
    blocks: BlockManager
    runner: Runner
    grammars: GrammarCompiler


def build_parts(config: EngineConfig, announce: Announce) -> EngineParts:
    """Load the model and make everything around it.

    Raises:
        EngineError: the model cannot be loaded, or its cache does not fit.
    """
    announce("reading the model's configuration")
    setup = resolve(config)
    return assemble(setup, _load(setup, announce))


def assemble(setup: Setup, loaded: Loaded) -> EngineParts:
    """Everything that is the same whatever computes the plans."""
    config, spec = setup.config, setup.spec
    prefix_cache = PrefixCache(config.block_size) if config.prefix_cache else None
    blocks = BlockManager(loaded.num_blocks, config.block_size, prefix_cache)
    scheduler = Scheduler(
        blocks,
        max_num_sequences=config.max_num_sequences,
        max_num_batched_tokens=setup.max_num_batched_tokens,
        max_model_len=setup.max_model_len,
        speculative_tokens=config.speculative_tokens,
        max_plans_ahead=loaded.runner.max_plans_ahead,
    )
    grammars = GrammarCompiler(
        partial(load_tokenizer, config.model), spec.vocab_size, spec.eos_token_ids
    )
    return EngineParts(_card(setup, loaded.kind), scheduler, blocks, loaded.runner, grammars)


def _load(setup: Setup, announce: Announce) -> Loaded:
    """Each device's modules are imported where they are used: each needs what others lack."""
    if setup.device.type == "cpu":
        from engine.execution.build_cpu import load_cpu_runner

        return load_cpu_runner(setup, announce)
    from engine.execution.build_device import load_device_runner

    return load_device_runner(setup, announce)


def _card(setup: Setup, kind: str) -> ModelCard:
    files = sorted(setup.model_dir.glob("*.safetensors"))
    return ModelCard(
        id=setup.config.served_name,
        created=int(files[0].stat().st_mtime),
        max_model_len=setup.max_model_len,
        vocab_size=setup.spec.vocab_size,
        fingerprint=_fingerprint(setup, files, kind),
        eos_token_ids=tuple(setup.spec.eos_token_ids),
    )


def _fingerprint(setup: Setup, files: list[Path], kind: str) -> str:
    """Changes with the weights, the precision, the device, the versions and the mode."""
    digest = hashlib.sha256()
    device = (setup.dtype, setup.device.type, kind, setup.batch_invariant)
    versions = (__version__, torch.__version__)
    digest.update(repr((*versions, *device, setup.config.quantization)).encode())
    digest.update((setup.model_dir / "config.json").read_bytes())
    for file in files:
        status = file.stat()
        small = status.st_size <= _HASHED_BYTES
        digest.update(
            file.read_bytes() if small else f"{status.st_size} {status.st_mtime_ns}".encode()
        )
    return f"fp_{digest.hexdigest()[:12]}"
