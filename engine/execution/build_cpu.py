"""Puts together what runs plans on a CPU: compiled kernels where a compiler is, or plain torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.attention.backend import AttentionBackend
from engine.attention.cpu import CpuAttention
from engine.attention.forward_batch import BlockTables
from engine.attention.kv_cache import KVCache
from engine.attention.native import NativeAttention
from engine.errors import EngineFault
from engine.execution.cpu_kernels import load_kernels
from engine.execution.loaded import Loaded
from engine.execution.machine import cpu_threads
from engine.execution.model_runner import ModelRunner
from engine.execution.setup import Setup, attention_shape, make_cache, weight_bytes
from engine.grammar.masks import GrammarMasks
from engine.models.decoder import Decoder
from engine.models.native_decoder import NativeDecoder, can_decode
from engine.models.weights import load_decoder, load_native_decoder
from engine.native.kernels import Kernels
from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import Sampler


def load_cpu_runner(setup: Setup, announce: Callable[[str], None]) -> Loaded:
    """Load the model and make its cache.

    Raises:
        EngineError: the model cannot be loaded, or its cache does not fit.
    """
    config, spec = setup.config, setup.spec
    torch.set_num_threads(cpu_threads(config.threads, weight_bytes(setup.model_dir)))
    kernels = load_kernels(config, attention_shape(spec), setup.dtype, announce)
    announce("loading weights")
    decoder = _decoder(setup, kernels)
    announce("making the key-value cache")
    cache = make_cache(setup)
    runner = ModelRunner(
        decoder,
        _attention(setup, cache, kernels),
        Sampler() if kernels is None else NativeSampler(kernels),
        GrammarMasks(),
        BlockTables(config.max_num_sequences, -(-setup.max_model_len // config.block_size)),
        block_size=config.block_size,
        vocab_size=spec.vocab_size,
        device=setup.device,
    )
    kind = f"{torch.get_num_threads()} threads, {'torch' if kernels is None else kernels.name}"
    return Loaded(runner, cache.num_blocks, kind)


def _decoder(setup: Setup, kernels: Kernels | None) -> Decoder | NativeDecoder:
    model_dir, spec, dtype = setup.model_dir, setup.spec, setup.dtype
    max_model_len = setup.max_model_len
    int8 = setup.config.quantization == "int8"
    if kernels is not None and can_decode(spec, dtype):  # invariant as it is
        return load_native_decoder(
            model_dir, spec, kernels, dtype=dtype, max_model_len=max_model_len, int8=int8
        )
    if int8:
        raise EngineFault("--quantization int8 is offered on a CPU with compiled kernels only.")
    return load_decoder(
        model_dir,
        spec,
        dtype=dtype,
        device=setup.device,
        max_model_len=max_model_len,
        batch_invariant=setup.batch_invariant,
    )


def _attention(setup: Setup, cache: KVCache, kernels: Kernels | None) -> AttentionBackend:
    if kernels is not None:
        return NativeAttention(kernels, attention_shape(setup.spec), cache)
    return CpuAttention(attention_shape(setup.spec), cache)
