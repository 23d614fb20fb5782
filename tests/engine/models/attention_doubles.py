"""Attention for tests of the decoder: one contiguous cache, and one through the paged cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from engine.attention.backend import (
    AttentionBackend,
    AttentionShape,
    ReferenceAttention,
    StepAttention,
)
from engine.attention.cpu import CpuAttention
from engine.attention.forward_batch import BlockTables, build_forward_batch
from engine.attention.kv_cache import KVCache
from engine.execution.setup import attention_shape
from engine.models.decoder import Decoder
from engine.models.native_decoder import NativeDecoder
from engine.models.spec import ModelSpec
from engine.sampling_params import SamplingParams
from engine.scheduling.plan import ScheduledSequence, StepPlan
from engine.scheduling.sequence import Sequence

CPU = torch.device("cpu")
BLOCK_SIZE = 16


class Runner(Protocol):
    """Runs the next tokens of one sequence."""

    def run(self, token_ids: list[int]) -> Tensor:
        """Hidden states of these tokens, which continue what was run before."""
        ...


class ContiguousRunner:
    """One sequence; keys and values in growing tensors, attention spelled out."""

    def __init__(self, decoder: Decoder, spec: ModelSpec) -> None:
        self._decoder = decoder
        self._spec = spec
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}
        self._length = 0

    def run(self, token_ids: list[int]) -> Tensor:
        positions = torch.arange(self._length, self._length + len(token_ids))
        self._length += len(token_ids)
        return self._decoder.forward(torch.tensor(token_ids), positions, self)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None
    ) -> Tensor:
        if layer in self._cache:
            old_k, old_v = self._cache[layer]
            k, v = torch.cat((old_k, k)), torch.cat((old_v, v))
        self._cache[layer] = (k.clone(), v.clone())
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k)
        scores *= self._spec.attention_scale or q.shape[-1] ** -0.5
        if cap := self._spec.attention_cap:
            scores = torch.tanh(scores / cap) * cap
        distance = torch.arange(len(k) - len(q), len(k))[:, None] - torch.arange(len(k))
        window = self._spec.layer_windows[layer] or len(k)
        hidden = (distance < 0) | (distance >= window)
        weights = scores.masked_fill(hidden, -math.inf).exp()
        rest = 0.0 if sinks is None else sinks.exp()[:, None, None]
        weights /= weights.sum(-1, keepdim=True) + rest
        return torch.einsum("hqk,khd->qhd", weights, v).flatten(1)


class PagedRunner:
    """One sequence through the engine's own batch, cache and attention."""

    def __init__(
        self,
        decoder: Decoder | NativeDecoder,
        spec: ModelSpec,
        make_backend: Callable[[AttentionShape, KVCache], AttentionBackend],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        num_blocks = -(-spec.max_position_embeddings // BLOCK_SIZE)
        cache = KVCache(
            num_layers=spec.num_layers,
            num_blocks=num_blocks + 1,
            block_size=BLOCK_SIZE,
            num_kv_heads=spec.num_kv_heads,
            head_dim=spec.head_dim,
            dtype=dtype,
            device=CPU,
        )
        self._decoder = decoder
        self._backend = make_backend(attention_shape(spec), cache)
        self._tables = BlockTables(1, num_blocks)
        self._blocks = list(range(num_blocks, 0, -1))
        self._token_ids: list[int] = []

    def run(self, token_ids: list[int]) -> Tensor:
        start = len(self._token_ids)
        self._token_ids += token_ids
        sequence = Sequence(
            request_id="0",
            prompt_token_ids=list(self._token_ids),
            params=SamplingParams(),
            seed=0,
            max_new_tokens=1,
            eos_token_ids=frozenset(),
            block_ids=self._blocks[: -(-len(self._token_ids) // BLOCK_SIZE)],
            row=0,
        )
        plan = StepPlan((ScheduledSequence(sequence, start, len(token_ids), samples=True),))
        with torch.inference_mode():
            batch = build_forward_batch(plan, self._tables, BLOCK_SIZE, CPU)
            step = self._backend.begin(batch)
            return self._decoder.forward(batch.token_ids, batch.positions, step)


RUNNERS: dict[str, Callable[[Decoder, ModelSpec], Runner]] = {
    "contiguous": ContiguousRunner,
    "paged-reference": lambda decoder, spec: PagedRunner(decoder, spec, ReferenceAttention),
    "paged-cpu": lambda decoder, spec: PagedRunner(decoder, spec, CpuAttention),
}


class SelfAttention(StepAttention):
    """Every token attends to itself alone: its own value, so that rows never meet."""

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None
    ) -> Tensor:
        return v.repeat_interleave(q.shape[1] // v.shape[1], 1).flatten(1)
