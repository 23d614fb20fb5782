"""Paged attention on the CPU: fixed tiles of keys, all sequences of a step in a few calls.

The context of every sequence is cut into tiles of keys, aligned to the sequence's start, and the
queries into tiles of 1 (decode) or `QUERY_TILE` (chunks) tokens. Each pair of a query tile and a
key tile that it may see is one *entry* of batched products of constant shape; the entries of a
query tile are then merged by their log-sum-exp (split-KV, as in Flash-Decoding).

Constant shapes are what makes a row's result independent of its batch-mates, of chunking and of
the length of its neighbours, bit for bit: a BLAS picks kernels and splits sums by shape. Rows of a
tile are padded to a multiple of four because smaller or odd products take other kernels.

A tile is a block, where blocks are long enough. Decodes then need no copy of the cache: entries
are put in the order of their blocks, and if these lie close together (they do, unless sequences
share blocks) the products read that stretch of the cache where it is. Otherwise the entries' keys
and values are gathered first. Knows nothing of models or of scheduling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from engine.attention.backend import AttentionShape
from engine.attention.forward_batch import ForwardBatch
from engine.attention.kv_cache import KVCache
from engine.attention.soft_cap import soft_cap_

SHORTEST_TILE = 64
"""Keys of a tile when blocks are shorter than this."""

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

    Tokens `[first_token, first_token + num_tokens)` of the batch belong to the group. Keys and
    values come from `gather` `[entries * kv heads * blocks of a tile]` rows (block, head), or,
    when that is None, from the stretch of blocks `[first_block, first_block + entries)`.
    """

    first_token: int
    num_tokens: int
    query_tokens: int  # tokens in a query tile
    gather_queries: torch.Tensor | None  # [tiles * query_tokens] token, relative; None: as is
    scatter_outputs: torch.Tensor | None  # [num_tokens] place in the tiles; None: as is
    entry_query: torch.Tensor  # [entries] query tile
    gather: torch.Tensor | None
    first_block: int
    merge: Merge | None  # None: one entry per tile, which is
    tile_entry: torch.Tensor | None  # [tiles] this one
    bias: dict[int | None, torch.Tensor]  # by window: [entries, 1, tokens or rows, keys]


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a group before they are tensors, and the blocks they read.

    `query` and `number` are the query tile and the key tile of each; -1 marks a place in a
    stretch of blocks that belongs to nobody here. `place` is where the n-th entry, counted by
    query tile and then by key tile, stands.
    """

    query: np.ndarray
    number: np.ndarray
    place: np.ndarray
    gather: torch.Tensor | None
    first_block: int


class CpuAttention:
    """Backend for caches on the CPU.

    Raises:
        ValueError: blocks are shorter than `SHORTEST_TILE` and do not divide it.
    """

    def __init__(self, shape: AttentionShape, cache: KVCache) -> None:
        self._tile = max(cache.block_size, SHORTEST_TILE)
        if self._tile % cache.block_size:
            raise ValueError(f"block_size {cache.block_size} does not divide {SHORTEST_TILE}")
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
        return CpuStepAttention(self._shape, self._cache, batch.slots, plans, self._tile)

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

        entries_of = positions[:, -1] // self._tile + 1
        single = bool((entries_of == 1).all())
        entries = self._entries(batch.block_tables[first:last], tile_owner, entries_of)
        as_is = query_tokens == 1
        outputs = None if as_is else _tensor(_places_of_tokens(places, lengths, tiles_of))
        return TilePlan(
            first_token=int(starts[0]),
            num_tokens=int(starts[-1] - starts[0]),
            query_tokens=query_tokens,
            gather_queries=None if as_is else _tensor((tokens - starts[0]).ravel()),
            scatter_outputs=outputs,
            entry_query=_tensor(np.maximum(entries.query, 0)),
            gather=entries.gather,
            first_block=entries.first_block,
            merge=None if single else self._merge(entries, entries_of, query_tokens),
            tile_entry=_tensor(entries.place) if single else None,
            bias={window: self._bias(positions, entries, window) for window in self._windows},
        )

    def _entries(
        self, tables: np.ndarray, tile_owner: np.ndarray, entries_of: np.ndarray
    ) -> _Entries:
        query = np.repeat(np.arange(len(tile_owner)), entries_of)
        number = _count_within(entries_of)
        owner = tile_owner[query]
        if self._tile == self._cache.block_size:
            blocks = tables[owner, number]
            first, stretch = int(blocks.min()), int(np.ptp(blocks)) + 1
            if stretch <= 2 * len(blocks) and len(np.unique(blocks)) == len(blocks):
                return _in_place(query, number, blocks - first, first, stretch)
        gather = self._gather_rows(tables, owner, number)
        return _Entries(query, number, np.arange(len(query)), gather, 0)

    def _gather_rows(
        self, tables: np.ndarray, owner: np.ndarray, number: np.ndarray
    ) -> torch.Tensor:
        per_tile, heads = self._tile // self._cache.block_size, self._shape.num_kv_heads
        padded = np.pad(tables, ((0, 0), (0, -tables.shape[1] % per_tile)))
        columns = number[:, None] * per_tile + np.arange(per_tile)
        blocks = padded[owner[:, None], columns]
        return _tensor((blocks[:, None, :] * heads + np.arange(heads)[:, None]).ravel())

    def _width(self, query_tokens: int) -> int:
        """Rows of one entry: tokens x heads of a group, padded to a multiple of four, x heads."""
        return -(-query_tokens * self._shape.group // 4) * 4 * self._shape.num_kv_heads

    def _merge(self, entries: _Entries, entries_of: np.ndarray, query_tokens: int) -> Merge:
        width = self._width(query_tokens)
        first_entry = np.cumsum(entries_of) - entries_of
        sizes = np.repeat(entries_of, width)  # one sum per tile and row
        entry = np.repeat(np.repeat(first_entry, width), sizes) + _count_within(sizes)
        column = np.repeat(np.tile(np.arange(width), len(entries_of)), sizes)
        target = np.maximum(entries.query, 0)[:, None] * width + np.arange(width)
        return Merge(
            rows=_tensor(entries.place[entry] * width + column),
            offsets=_tensor(np.cumsum(sizes) - sizes),
            target=_tensor(target.ravel()),
        )

    def _bias(self, positions: np.ndarray, entries: _Entries, window: int | None) -> torch.Tensor:
        """0 or `_HIDDEN`; `positions` are those of the query tiles, `[tiles, query_tokens]`."""
        keys = entries.number[:, None] * self._tile + np.arange(self._tile)
        distance = positions[entries.query][:, :, None] - keys[:, None, :]
        visible = (distance >= 0) & (entries.number >= 0)[:, None, None]
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
        tile: int,
    ) -> None:
        self._shape = shape
        self._cache = cache
        self._rows = cache.rows(slots)
        self._plans = plans
        self._tile = tile

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `engine.attention.backend.StepAttention.attend`."""
        self._cache.store(layer, k, v, self._rows)
        parts = [self._run(plan, layer, q, sinks) for plan in self._plans]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(
        self, plan: TilePlan, layer: int, q: torch.Tensor, sinks: torch.Tensor | None
    ) -> torch.Tensor:
        heads = self._shape.num_kv_heads
        queries = self._query_tiles(plan, q).index_select(0, plan.entry_query).flatten(0, 1)
        keys = self._stored(self._cache.keys[layer], plan)
        scores = soft_cap_(torch.bmm(queries, keys.transpose(1, 2)), self._shape.cap)
        bias = plan.bias[self._shape.windows[layer]]
        scores.view(-1, heads, *scores.shape[1:]).add_(bias)
        weights = scores.softmax(-1)
        out = torch.bmm(weights, self._stored(self._cache.values[layer], plan))
        is_whole = plan.merge is None
        lse = None if is_whole and sinks is None else _log_sum_exp(scores, weights)
        if plan.merge is not None:
            assert lse is not None
            out, lse = _merge_entries(out, lse, plan.merge)
        else:
            assert plan.tile_entry is not None
            out = _of_entries(out, plan.tile_entry, heads)
            lse = None if lse is None else _of_entries(lse, plan.tile_entry, heads)
        if lse is not None and sinks is not None:
            out.mul_(self._share_beside(sinks, lse, plan.query_tokens)[..., None])
        return self._token_rows(plan, out)

    def _share_beside(self, sinks: torch.Tensor, lse: torch.Tensor, tokens: int) -> torch.Tensor:
        """What the weights of keys add up to, where those of keys and the sink add up to 1.

        Args:
            sinks: `[num_heads]`.
            lse: `[tiles * kv heads, rows]`, the log-sum-exp of each row's scores.

        Returns:
            As `lse`.
        """
        by_row = sinks.view(self._shape.num_kv_heads, -1).repeat(1, tokens)
        by_row = functional.pad(by_row, (0, lse.shape[1] - by_row.shape[1]))
        above = by_row.repeat(len(lse) // len(by_row), 1) - lse
        return above.exp_().add_(1).reciprocal_()

    def _stored(self, stored: torch.Tensor, plan: TilePlan) -> torch.Tensor:
        """The entries' keys or values, `[entries * kv heads, tile, head_dim]`."""
        if plan.gather is None:
            stretch = stored[plan.first_block : plan.first_block + len(plan.entry_query)]
            return stretch.flatten(0, 1)
        by_block_and_head = stored.view(-1, stored.shape[2] * stored.shape[3])
        gathered = by_block_and_head.index_select(0, plan.gather)
        return gathered.view(-1, self._tile, stored.shape[3])

    def _query_tiles(self, plan: TilePlan, q: torch.Tensor) -> torch.Tensor:
        """Scaled queries, `[tiles, kv heads, rows, head_dim]`; padding rows are zero."""
        shape = self._shape
        if len(self._plans) > 1:
            q = q[plan.first_token : plan.first_token + plan.num_tokens]
        if plan.gather_queries is not None:
            q = q.index_select(0, plan.gather_queries)
        rows = plan.query_tokens * shape.group
        q = q.reshape(-1, plan.query_tokens, shape.num_kv_heads, shape.group, shape.head_dim)
        padded = q.new_zeros(len(q), shape.num_kv_heads, -(-rows // 4) * 4, shape.head_dim)
        target = padded[:, :, :rows].unflatten(2, (plan.query_tokens, shape.group))
        torch.mul(q.transpose(1, 2), shape.scale, out=target)
        return padded

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


def _of_entries(rows: torch.Tensor, entries: torch.Tensor, heads: int) -> torch.Tensor:
    """Those of some entries, of `[entries * kv heads, ...]`."""
    return rows.unflatten(0, (-1, heads)).index_select(0, entries).flatten(0, 1)


def _merge_entries(
    out: torch.Tensor, lse: torch.Tensor, merge: Merge
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the entries of each query tile, weighted by their log-sum-exp.

    Args:
        out: `[entries * kv heads, rows, head_dim]`, softmax within the tile.
        lse: `[entries * kv heads, rows]`.

    Returns:
        `[tiles * kv heads, rows, head_dim]`, and the log-sum-exp of all of a row. Entries are
        added in key order, so a sum's order depends on nothing but the row's own length.
    """
    flat = lse.float().flatten()
    peak = flat.new_full(merge.offsets.shape, float("-inf"))
    peak.scatter_reduce_(0, merge.target, flat, "amax")
    weights = (flat - peak.index_select(0, merge.target)).exp_()
    table = out.flatten(0, 1).float()
    merged = _sum_rows(table, merge, weights.index_select(0, merge.rows))
    total = _sum_rows(weights[:, None], merge, None)
    merged /= total
    whole_lse = peak.add_(total.squeeze(1).log_())
    return merged.to(out.dtype).view(-1, *out.shape[1:]), whole_lse.view(-1, out.shape[1])


def _sum_rows(table: torch.Tensor, merge: Merge, weights: torch.Tensor | None) -> torch.Tensor:
    """Weighted sums of table rows by output row, each in the order of `merge.rows`."""
    return torch.embedding_bag(table, merge.rows, merge.offsets, False, 0, False, weights)[0]


def _in_place(
    query: np.ndarray, number: np.ndarray, place: np.ndarray, first: int, stretch: int
) -> _Entries:
    """Entries in the order of their blocks, nobody's blocks between them included."""
    queries, numbers = np.full(stretch, -1), np.full(stretch, -1)
    queries[place], numbers[place] = query, number
    return _Entries(queries, numbers, place, None, first)


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
