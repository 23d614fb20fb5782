"""What the operator chose for the engine. Frozen: nothing measured is ever written back.

Knows nothing of HTTP settings; the server maps its flags to this once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

EMBEDDED_MODEL = Path(__file__).parent / "default_model" / "files"


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one engine process.

    `model` is a Hugging Face style directory. `max_model_len` None takes the model's own limit.
    `kv_cache_tokens` None fits the cache to `memory_fraction` of the free memory (bounded on CPU).
    `kv_cache_dtype` `fp8` halves the cache, on a GPU. `max_num_batched_tokens` None goes by the
    device. `batch_invariant` makes a row's logits independent of its batch-mates, of chunking and
    of cache hits, bit for bit; None does so where it costs nothing, which is on a CPU.
    `speculative_tokens` are guessed from a sequence's own text and checked in one step, 0 to 15; a
    GPU then makes no step ahead. `quantization` rounds the weights of products while they are
    loaded, with a scale per output: `int8`, computed with in `dtype`, where the compiled kernels
    run the model; `fp8` on a GPU, where steps of several rows round what they multiply by them,
    too, and with experts all steps. Experts of four bits stay as they are.
    """

    model: str = str(EMBEDDED_MODEL)
    served_name: str = "diglot-mini"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["int8", "fp8"] | None = None
    max_model_len: int | None = None
    block_size: int = 64  # tokens
    kv_cache_tokens: int | None = None
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    memory_fraction: float = 0.85
    max_num_sequences: int = 256
    max_num_batched_tokens: int | None = None  # tokens of one step
    prefix_cache: bool = True
    batch_invariant: bool | None = None
    speculative_tokens: int = 0  # at a time, at most
    native_kernels: bool = True  # on a CPU, where a compiler is
    cuda_graphs: bool = True  # on a GPU
    threads: int | None = None  # None: physical cores this process may use
