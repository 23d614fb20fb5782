"""Paged attention on the CPU: fixed tiles of keys, all sequences of a step in a few calls.

The context of every sequence is cut into tiles of `TILE` keys, aligned to the sequence's start,
and the queries into tiles of 1 (decode) or `QUERY_TILE` (chunks) tokens. Each pair of a query tile
and a key tile that it may see is one *entry* of a batched flash-attention call of constant shape;
the entries of a query tile are then merged by their log-sum-exp (split-KV, as in Flash-Decoding).

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

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True, slots=True)
class TileMask:
    """Which keys the rows of each entry see.

    `bias` is `[entries, 1, tokens or rows, TILE]`, 0 or -inf. `blind` is `[entries, 1, rows]`,
    True where a row sees no key of the tile (its part must then weigh nothing), or None.
    """

    bias: torch.Tensor
    blind: torch.Tensor | None


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
    entry_blocks: torch.Tensor  # [entries * TILE / block_size] block ids
    bags: tuple[torch.Tensor, torch.Tensor] | None  # entry rows by output row, and offsets
    bag_of_row: torch.Tensor | None  # [entry rows] output row
    masks: dict[int | None, TileMask]  # by window


class CpuAttention:
    """Backend for float32 (or bfloat16) caches on the CPU.

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
        return TilePlan(
            first_token=int(starts[0]),
            num_tokens=int(starts[-1] - starts[0]),
            query_tokens=query_tokens,
            gather_queries=None if as_is else _tensor((tokens - starts[0]).ravel()),
            scatter_outputs=None if as_is else _tensor(_places_of_tokens(places, lengths, tiles_of)),
            entry_query=None if single else _tensor(entry_tile),
            entry_blocks=self._entry_blocks(
                batch.block_tables[first:last], tile_owner[entry_tile], entry_number
            ),
            bags=None if single else self._bags(entries_of, query_tokens),
            bag_of_row=None if single else self._bag_of_row(entry_tile, query_tokens),
            masks={
                window: self._mask(positions[entry_tile], entry_number, window)
                for window in self._windows
            },
        )

    def _entry_blocks(
        self, tables: np.ndarray, owner: np.ndarray, number: np.ndarray
    ) -> torch.Tensor:
        per_tile = TILE // self._cache.block_size
        short = -tables.shape[1] % per_tile
        padded = np.pad(tables, ((0, 0), (0, short)))
        columns = number[:, None] * per_tile + np.arange(per_tile)
        return _tensor(padded[owner[:, None], columns].ravel())

    def _rows(self, query_tokens: int) -> int:
        """Rows of a query tile: tokens x heads of a group, padded to a multiple of four."""
        return -(-query_tokens * self._shape.group // 4) * 4

    def _bags(self, entries_of: np.ndarray, query_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Entry rows `(entry, row, kv head)` ordered by the output row that they add up to."""
        width = self._rows(query_tokens) * self._shape.num_kv_heads
        first_entry = np.concatenate(([0], np.cumsum(entries_of)[:-1]))
        sizes = np.repeat(entries_of, width)  # one bag per tile and row
        base = np.repeat(first_entry * width, width) + np.tile(np.arange(width), len(entries_of))
        indices = np.repeat(base, sizes) + _count_within(sizes) * width
        offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        return _tensor(indices), _tensor(offsets)

    def _bag_of_row(self, entry_tile: np.ndarray, query_tokens: int) -> torch.Tensor:
        width = self._rows(query_tokens) * self._shape.num_kv_heads
        return _tensor((entry_tile[:, None] * width + np.arange(width)).ravel())

    def _mask(
        self, positions: np.ndarray, entry_number: np.ndarray, window: int | None
    ) -> TileMask:
        """Mask of queries at `positions` `[entries, query_tokens]`."""
        keys = entry_number[:, None] * TILE + np.arange(TILE)
        distance = positions[:, :, None] - keys[:, None, :]
        visible = distance >= 0
        if window is not None:
            visible &= distance < window
        bias = np.where(visible, np.float32(0), np.float32("-inf"))
        blind = ~visible.any(-1)
        rows = self._rows(positions.shape[1])
        if positions.shape[1] > 1:
            bias = np.repeat(bias, self._shape.group, axis=1)
            blind_rows = np.repeat(blind, self._shape.group, axis=1)
        else:
            blind_rows = np.repeat(blind, rows, axis=1)
        return TileMask(
            bias=torch.from_numpy(bias)[:, None],
            blind=torch.from_numpy(blind_rows)[:, None] if blind.any() else None,
        )


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
        self._slots = slots
        self._plans = plans

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        """See `engine.attention.backend.StepAttention.attend`."""
        self._cache.store(layer, k, v, self._slots)
        parts = [self._run(plan, layer, q) for plan in self._plans]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, plan: TilePlan, layer: int, q: torch.Tensor) -> torch.Tensor:
        shape, mask = self._shape, plan.masks[self._shape.windows[layer]]
        queries = self._query_tiles(plan, q)
        if plan.entry_query is not None:
            queries = queries.index_select(0, plan.entry_query)
        stored = self._cache.layers[layer].index_select(0, plan.entry_blocks)
        stored = stored.view(-1, TILE, 2, shape.num_kv_heads, shape.head_dim)
        keys, values = stored.transpose(1, 3).unbind(2)
        out, lse = _flash(
            queries, keys, values, attn_mask=mask.bias.to(q.dtype), scale=shape.scale
        )
        out = out.transpose(1, 2)  # [entries, rows, kv heads, head_dim], contiguous
        if plan.bags is not None:
            out = _merge(out, lse, mask.blind, plan)
        return self._token_rows(plan, out)

    def _query_tiles(self, plan: TilePlan, q: torch.Tensor) -> torch.Tensor:
        """`[tiles, kv heads, rows, head_dim]`; rows run over tokens, then heads of the group."""
        shape = self._shape
        q = q[plan.first_token : plan.first_token + plan.num_tokens]
        if plan.gather_queries is not None:
            q = q.index_select(0, plan.gather_queries)
        heads = (shape.num_kv_heads, shape.group, shape.head_dim)
        tiles = q.view(-1, plan.query_tokens, *heads).transpose(1, 2)
        tiles = tiles.reshape(-1, shape.num_kv_heads, plan.query_tokens * shape.group, heads[2])
        missing = -tiles.shape[2] % 4
        return functional.pad(tiles, (0, 0, 0, missing)) if missing else tiles

    def _token_rows(self, plan: TilePlan, out: torch.Tensor) -> torch.Tensor:
        """`[tiles, rows, kv heads, head_dim]` to `[tokens, heads * head_dim]`."""
        shape = self._shape
        rows = plan.query_tokens * shape.group
        out = out[:, :rows].reshape(
            -1, plan.query_tokens, shape.group, shape.num_kv_heads, shape.head_dim
        )
        out = out.transpose(2, 3).reshape(-1, shape.num_heads * shape.head_dim)
        if plan.scatter_outputs is not None:
            out = out.index_select(0, plan.scatter_outputs)
        return out


def _merge(
    out: torch.Tensor, lse: torch.Tensor, blind: torch.Tensor | None, plan: TilePlan
) -> torch.Tensor:
    """Merge the entries of each query tile, weighted by their log-sum-exp.

    Args:
        out: `[entries, rows, kv heads, head_dim]`, softmax within the tile.
        lse: `[entries, kv heads, rows]`.

    Returns:
        `[tiles, rows, kv heads, head_dim]`. A bag adds its entries in key order, so the sum's
        order depends on nothing but the row's own length.
    """
    assert plan.bags is not None and plan.bag_of_row is not None
    if blind is not None:
        lse = lse.masked_fill(blind, float("-inf"))
    flat = lse.transpose(1, 2).reshape(-1)
    indices, offsets = plan.bags
    bags = offsets.shape[0]
    peak = flat.new_full((bags,), float("-inf")).scatter_reduce_(0, plan.bag_of_row, flat, "amax")
    weights = (flat - peak.index_select(0, plan.bag_of_row)).exp_()
    bag_weights = weights.index_select(0, indices)
    merged = _bag_sum(out.reshape(-1, out.shape[-1]).float(), indices, offsets, bag_weights)
    total = _bag_sum(weights[:, None], indices, offsets, None)
    return (merged / total).to(out.dtype).view(-1, *out.shape[1:])


def _bag_sum(
    table: torch.Tensor, indices: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """Sum of table rows per bag, in index order: `[bags, width]`."""
    return torch.embedding_bag(table, indices, offsets, False, 0, False, weights)[0]


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
