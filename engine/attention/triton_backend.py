"""Attention on a GPU, by kernels in Triton over the paged cache.

A layer is one kernel that normalizes, rotates and stores heads, one for the decodes of the step,
one more to merge their splits where rows are few, and one for the chunks. The host decides by
counts and bounds alone, never by what is in a tensor, so that a step can be captured in a graph.

Knows nothing of models.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.attention import triton_tiles
from engine.attention.backend import AttentionShape
from engine.attention.device_batch import DeviceBatch
from engine.attention.kv_cache import KVCache
from engine.attention.triton_attend import attend_kernel
from engine.attention.triton_reduce import reduce_splits, reduce_splits_in_order
from engine.attention.triton_store import store_heads
from engine.attention.triton_tiles import Tiles
from engine.dependent_launch import chained
from engine.float8 import in_word, read_as

LOG2_E = math.log2(math.e)


class TritonAttention:
    """Backend for caches on a GPU, whose dtype is the model's or `torch.float8_e4m3fn`."""

    def __init__(self, shape: AttentionShape, cache: KVCache, *, batch_invariant: bool) -> None:
        """`batch_invariant`: a token's bits depend on its own sequence only: not on its
        batch-mates, nor on how a prompt is cut into chunks or what of it was cached. That holds by
        the order of sums; a card's rounding has not been looked at yet.

        Raises:
            ValueError: blocks are not a power of two of tokens.
        """
        if cache.block_size & (cache.block_size - 1):
            raise ValueError(f"block_size {cache.block_size} is not a power of two")
        self._shape = shape
        self._cache = cache
        self._batch_invariant = batch_invariant

    def begin(self, batch: DeviceBatch) -> TritonStepAttention:
        """Plan one step."""
        return TritonStepAttention(self._shape, self._cache, batch, self._batch_invariant)


class TritonStepAttention:
    """One step's batch."""

    def __init__(
        self, shape: AttentionShape, cache: KVCache, batch: DeviceBatch, batch_invariant: bool
    ) -> None:
        self._shape = shape
        self._cache = cache
        self._batch = batch
        self._batch_invariant = batch_invariant
        self._num_chunks = len(batch.lengths) - batch.num_decodes
        self._programs = programs = self._choose_programs()
        splits = (
            -(-batch.longest_context // triton_tiles.SPLIT_KEYS) if batch_invariant else programs
        )
        # What splits leave; one room for all layers, which run one after the other.
        room = (batch.num_decodes if programs > 1 else 0, shape.num_heads, splits)
        self._partials, self._stats = (
            torch.empty(*room, size, dtype=torch.float32, device=batch.lengths.device)
            for size in (shape.head_dim, 2)
        )

    def _choose_programs(self) -> int:
        """How many share the keys of a decode."""
        counts = (self._batch.num_decodes, self._shape.num_kv_heads, self._batch.longest_context)
        if not self._batch.num_decodes:
            return 1
        if self._batch_invariant:
            return triton_tiles.invariant_programs(*counts)
        return triton_tiles.decode_splits(*counts)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None
    ) -> Tensor:
        """See `engine.attention.backend.StepAttention.attend`."""
        return self._run(layer, torch.cat((q, k, v), 1), None, None, 0.0, sinks)

    def attend_rotating(
        self,
        layer: int,
        heads: Tensor,
        cos: Tensor,
        sin: Tensor,
        gain: Tensor | None,
        eps: float,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """See `engine.attention.backend.RotatingStepAttention.attend_rotating`."""
        return self._run(layer, heads, (cos, sin), gain, eps, sinks)

    def _run(
        self,
        layer: int,
        heads: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        gain: Tensor | None,
        eps: float,
        sinks: Tensor | None,
    ) -> Tensor:
        shape, batch = self._shape, self._batch
        q = store_heads(shape, self._cache, layer, heads, batch.slots, angles, gain, eps)
        out = torch.empty_like(q)
        if batch.num_decodes:
            tiles = self._decode_tiles(q.dtype)
            decodes = (0, batch.num_decodes)
            self._launch(layer, q, out, sinks, tiles, decodes, 1, self._programs)
        if self._programs > 1:
            self._reduce(layer, out, sinks)
        if self._num_chunks:
            tiles = self._chunk_tiles(q.dtype)
            num_tiles = -(-batch.longest_query // (tiles.rows // shape.group))
            chunks = (batch.num_decodes, self._num_chunks)
            self._launch(layer, q, out, sinks, tiles, chunks, num_tiles, 1)
        return out.view(len(out), -1)

    def _reduce(self, layer: int, out: Tensor, sinks: Tensor | None) -> None:
        if not self._batch_invariant:
            reduce_splits(self._partials, self._stats, out, sinks)
            return
        window, lengths = self._shape.windows[layer] or 0, self._batch.lengths
        keys = triton_tiles.SPLIT_KEYS
        reduce_splits_in_order(self._partials, self._stats, out, sinks, lengths, window, keys)

    def _decode_tiles(self, dtype: torch.dtype) -> Tiles:
        sizes = (self._shape.head_dim, self._shape.group, dtype)
        if self._batch_invariant:
            return triton_tiles.invariant_decode_tiles(*sizes)
        eight_bit = in_word(self._cache.keys[0]) > 1
        return triton_tiles.decode_tiles(*sizes, is_split=self._programs > 1, eight_bit=eight_bit)

    def _chunk_tiles(self, dtype: torch.dtype) -> Tiles:
        sizes = (self._shape.head_dim, self._shape.group, dtype)
        if self._batch_invariant:
            return triton_tiles.invariant_chunk_tiles(*sizes)
        return triton_tiles.chunk_tiles(*sizes)

    def _launch(
        self,
        layer: int,
        q: Tensor,
        out: Tensor,
        sinks: Tensor | None,
        tiles: Tiles,
        sequences: tuple[int, int],  # first, and how many
        num_tiles: int,
        num_programs: int,
    ) -> None:
        shape, cache, batch = self._shape, self._cache, self._batch
        first_sequence, num_sequences = sequences
        attend_kernel[(num_tiles * num_programs, shape.num_kv_heads, num_sequences)](
            q,
            out,
            self._partials,
            self._stats,
            read_as(cache.keys[layer]),
            read_as(cache.values[layer]),
            batch.block_tables,
            batch.rows,
            batch.query_starts,
            batch.lengths,
            batch.block_tables.stride(0),
            first_sequence,
            num_tiles,
            num_programs,
            self._partials.shape[2],
            shape.scale * LOG2_E,
            self._stats if sinks is None else sinks,
            KV_HEADS=shape.num_kv_heads,
            GROUP=shape.group,
            HEAD_DIM=shape.head_dim,
            BLOCK_SIZE=cache.block_size,
            WINDOW=shape.windows[layer] or 0,
            CAP=(shape.cap or 0.0) * LOG2_E,
            SPLIT_KEYS=triton_tiles.SPLIT_KEYS if self._batch_invariant else 0,
            TILE_ROWS=tiles.rows,
            TILE_KEYS=tiles.keys,
            TILE_DIM=triton_tiles.padded(shape.head_dim),
            IN_WORD=in_word(cache.keys[layer]),
            ON_CARD=q.is_cuda,
            HAS_SINKS=sinks is not None,
            **tiles.options,
            **chained(q),
        )
