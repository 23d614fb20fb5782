"""Paged attention on the CPU: fixed tiles of keys, all sequences of a step in a few calls.

The context of every sequence is cut into tiles of `TILE` keys, aligned to the sequence's start,
and the queries into tiles of 1 (decode) or `QUERY_TILE` (chunks) tokens. Each pair of a query tile
and a key tile that it may see is one *entry* of batched products of constant shape; the entries of
a query tile are then merged by their log-sum-exp (split-KV, as in Flash-Decoding).

Constant shapes are what makes a row's result independent of its batch-mates, of chunking and of
the length of its neighbours, bit for bit: a BLAS picks kernels and splits sums by shape. Rows of a
tile are padded to a multiple of four because smaller or odd products take other kernels.

Knows nothing of models or of scheduling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from engine.attention.backend import AttentionShape
from engine.attention.forward_batch import ForwardBatch
from engine.attention.kv_cache import KVCache

TILE = 128
"""Keys of one tile; a multiple of every allowed block size."""

QUERY_TILE = 32
"""Tokens of one query tile of a chunk."""

_HIDDEN = -1e30
"""Added to the score of a key that a query must not see. Finite, so that a row which sees no key
of a tile stays finite too; its log-sum-exp is then so low that the tile weighs exactly nothing."""


@dataclass(frozen=True, slots=True)
class Merge:
    """How entry rows `(entry, kv head, row)` add up to output rows `(tile, kv head, row)`.

    `rows` lists the entry rows by output row, in key order; `offsets` is where each output row's
    list begins; `target` is the output row of each entry row. All int64.
    """

    rows: torch.Tensor
    offsets: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True, slots=True)
class TilePlan:
    """One group of query tiles of equal size, and the entries that serve them.

    Tokens `[first_token, first_token + num_tokens)` of the batch belong to the group.
    """

    first_token: int
    num_tokens: int
    query_tokens: int  # tokens in a query tile
    gather_queries: torch.Tensor | None  # [tiles * query_tokens] token, relative; None: as is
    scatter_outputs: torch.Tensor | None  # [num_tokens] place in the tiles; None: as is
    entry_query: torch.Tensor | None  # [entries] query tile; None: one entry per tile, in order
    entry_blocks: torch.Tensor  # [entries * kv heads * TILE / block_size] rows (block, head)
    merge: Merge | None  # None: one entry per tile
    bias: dict[int | None, torch.Tensor]  # by window: [entries, 1, tokens or rows, TILE]


class CpuAttention:
    """Backend for caches on the CPU.

    Raises:
        ValueError: the block size does not divide `TILE`.
    """

    def __init__(self, shape: AttentionShape, cache: KVCache) -> None:
        if TILE % cache.block_size:
            raise ValueError(f"block_size {cache.block_size} does not divide {TILE}")
        self._shape = shape
        self._cache = cache
        self._windows = tuple(dict.fromkeys(shape.windows))

    def begin(self, batch: ForwardBatch) -> CpuStepAttention:
        """Plan the tiles of one step: one group for decodes, one for longer chunks."""
        decodes = batch.num_decodes
        sequences = len(batch.query_starts) - 1
        plans: list[TilePlan] = []
        if decodes:
            plans.append(self._plan(batch, 0, decodes, 1))
        if decodes < sequences:
            plans.append(self._plan(batch, decodes, sequences, QUERY_TILE))
        return CpuStepAttention(self._shape, self._cache, batch.slots, plans)

    def _plan(self, batch: ForwardBatch, first: int, last: int, query_tokens: int) -> TilePlan:
        starts = batch.query_starts[first : last + 1]
        lengths = np.diff(starts)
        tiles_of = -(-lengths // query_tokens)
        tile_owner = np.repeat(np.arange(last - first), tiles_of)
        tile_number = _count_within(tiles_of)
        # A tile's places beyond its sequence repeat the last token; their results are dropped.
        places = tile_number[:, None] * query_tokens + np.arange(query_tokens)
        tokens = starts[tile_owner, None] + np.minimum(places, lengths[tile_owner, None] - 1)
        positions = batch.host_positions[tokens]

        entries_of = positions[:, -1] // TILE + 1
        entry_tile = np.repeat(np.arange(len(tile_owner)), entries_of)
        entry_number = _count_within(entries_of)
        single = bool((entries_of == 1).all())
        as_is = query_tokens == 1
        outputs = None if as_is else _tensor(_places_of_tokens(places, lengths, tiles_of))
        return TilePlan(
            first_token=int(starts[0]),
            num_tokens=int(starts[-1] - starts[0]),
            query_tokens=query_tokens,
            gather_queries=None if as_is else _tensor((tokens - starts[0]).ravel()),
            scatter_outputs=outputs,
            entry_query=None if single else _tensor(entry_tile),
            entry_blocks=self._entry_blocks(
                batch.block_tables[first:last], tile_owner[entry_tile], entry_number
            ),
            merge=None if single else self._merge(entries_of, entry_tile, query_tokens),
            bias={
                window: self._bias(positions[entry_tile], entry_number, window)
                for window in self._windows
            },
        )

    def _entry_blocks(
        self, tables: np.ndarray, owner: np.ndarray, number: np.ndarray
    ) -> torch.Tensor:
        per_tile, heads = TILE // self._cache.block_size, self._shape.num_kv_heads
        padded = np.pad(tables, ((0, 0), (0, -tables.shape[1] % per_tile)))
        columns = number[:, None] * per_tile + np.arange(per_tile)
        blocks = padded[owner[:, None], columns]
        return _tensor((blocks[:, None, :] * heads + np.arange(heads)[:, None]).ravel())

    def _width(self, query_tokens: int) -> int:
        """Rows of one entry: tokens x heads of a group, padded to a multiple of four, x heads."""
        return -(-query_tokens * self._shape.group // 4) * 4 * self._shape.num_kv_heads

    def _merge(self, entries_of: np.ndarray, entry_tile: np.ndarray, query_tokens: int) -> Merge:
        width = self._width(query_tokens)
        first_entry = np.cumsum(entries_of) - entries_of
        sizes = np.repeat(entries_of, width)  # one sum per tile and row
        base = np.repeat(first_entry * width, width) + np.tile(np.arange(width), len(entries_of))
        return Merge(
            rows=_tensor(np.repeat(base, sizes) + _count_within(sizes) * width),
            offsets=_tensor(np.cumsum(sizes) - sizes),
            target=_tensor((entry_tile[:, None] * width + np.arange(width)).ravel()),
        )

    def _bias(
        self, positions: np.ndarray, entry_number: np.ndarray, window: int | None
    ) -> torch.Tensor:
        """0 or `_HIDDEN` for queries at `positions` `[entries, query_tokens]`."""
        keys = entry_number[:, None] * TILE + np.arange(TILE)
        distance = positions[:, :, None] - keys[:, None, :]
        visible = distance >= 0
        if window is not None:
            visible &= distance < window
        bias = np.where(visible, np.float32(0), np.float32(_HIDDEN))
        if positions.shape[1] > 1:  # rows run over tokens, then heads of the group
            bias = np.repeat(bias, self._shape.group, axis=1)
        return torch.from_numpy(bias)[:, None]


class CpuStepAttention:
    """The tile plans of one step, run for each layer."""

    def __init__(
        self,
        shape: AttentionShape,
        cache: KVCache,
        slots: torch.Tensor,
        plans: list[TilePlan],
    ) -> None:
        self._shape = shape
        self._cache = cache
        self._rows = cache.rows(slots)
        self._plans = plans

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """See `engine.attention.backend.StepAttention.attend`."""
        self._cache.store(layer, k, v, self._rows)
        parts = [self._run(plan, layer, q) for plan in self._plans]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, plan: TilePlan, layer: int, q: torch.Tensor) -> torch.Tensor:
        heads = self._shape.num_kv_heads
        queries = self._query_tiles(plan, q)
        if plan.entry_query is not None:
            queries = queries.index_select(0, plan.entry_query)
        queries = queries.flatten(0, 1)  # [entries * kv heads, rows, head_dim]
        keys = self._gather(self._cache.keys[layer], plan)
        scores = torch.bmm(queries, keys.transpose(1, 2))
        bias = plan.bias[self._shape.windows[layer]]
        scores.view(-1, heads, *scores.shape[1:]).add_(bias)
        weights = scores.softmax(-1)
        out = torch.bmm(weights, self._gather(self._cache.values[layer], plan))
        if plan.merge is not None:
            out = _merge_entries(out, _log_sum_exp(scores, weights), plan.merge)
        return self._token_rows(plan, out)

    def _gather(self, stored: torch.Tensor, plan: TilePlan) -> torch.Tensor:
        """The entries' keys or values, `[entries * kv heads, TILE, head_dim]`."""
        by_block_and_head = stored.view(-1, stored.shape[2] * stored.shape[3])
        gathered = by_block_and_head.index_select(0, plan.entry_blocks)
        return gathered.view(-1, TILE, stored.shape[3])

    def _query_tiles(self, plan: TilePlan, q: torch.Tensor) -> torch.Tensor:
        """Scaled queries, `[tiles, kv heads, rows, head_dim]`."""
        shape = self._shape
        if len(self._plans) > 1:
            q = q[plan.first_token : plan.first_token + plan.num_tokens]
        if plan.gather_queries is not None:
            q = q.index_select(0, plan.gather_queries)
        q = (q * shape.scale).view(
            -1, plan.query_tokens, shape.num_kv_heads, shape.group, shape.head_dim
        )
        tiles = q.transpose(1, 2).reshape(
            -1, shape.num_kv_heads, plan.query_tokens * shape.group, shape.head_dim
        )
        missing = -tiles.shape[2] % 4
        return functional.pad(tiles, (0, 0, 0, missing)) if missing else tiles

    def _token_rows(self, plan: TilePlan, out: torch.Tensor) -> torch.Tensor:
        """`[tiles * kv heads, rows, head_dim]` to `[tokens, heads * head_dim]`."""
        shape = self._shape
        out = out[:, : plan.query_tokens * shape.group].unflatten(0, (-1, shape.num_kv_heads))
        out = out.unflatten(2, (plan.query_tokens, shape.group)).transpose(1, 2)
        out = out.reshape(-1, shape.num_heads * shape.head_dim)
        if plan.scatter_outputs is not None:
            out = out.index_select(0, plan.scatter_outputs)
        return out


def _log_sum_exp(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Per row, from the softmax at hand: its largest weight is exp(largest score - result)."""
    return scores.amax(-1) - weights.amax(-1).log_()


def _merge_entries(out: torch.Tensor, lse: torch.Tensor, merge: Merge) -> torch.Tensor:
    """Merge the entries of each query tile, weighted by their log-sum-exp.

    Args:
        out: `[entries * kv heads, rows, head_dim]`, softmax within the tile.
        lse: `[entries * kv heads, rows]`.

    Returns:
        `[tiles * kv heads, rows, head_dim]`. Entries are added in key order, so a sum's order
        depends on nothing but the row's own length.
    """
    flat = lse.float().flatten()
    peak = flat.new_full(merge.offsets.shape, float("-inf"))
    peak.scatter_reduce_(0, merge.target, flat, "amax")
    weights = (flat - peak.index_select(0, merge.target)).exp_()
    table = out.flatten(0, 1).float()
    merged = _sum_rows(table, merge, weights.index_select(0, merge.rows))
    merged /= _sum_rows(weights[:, None], merge, None)
    return merged.to(out.dtype).view(-1, *out.shape[1:])


def _sum_rows(table: torch.Tensor, merge: Merge, weights: torch.Tensor | None) -> torch.Tensor:
    """Weighted sums of table rows by output row, each in the order of `merge.rows`."""
    return torch.embedding_bag(table, merge.rows, merge.offsets, False, 0, False, weights)[0]


def _count_within(sizes: np.ndarray) -> np.ndarray:
    """0, 1, ... within each of consecutive groups of these sizes."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)


def _places_of_tokens(places: np.ndarray, lengths: np.ndarray, tiles_of: np.ndarray) -> np.ndarray:
    """For each token of the group, its index in the flattened query tiles."""
    inside = places < np.repeat(lengths, tiles_of)[:, None]
    return np.flatnonzero(inside.ravel())


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
