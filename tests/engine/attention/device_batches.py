"""Builds the same step twice: as kernels on a device see it, and as the reference does.

A step is a list of (length, count): a sequence of `length` known tokens whose last `count` are of
this step. Blocks are scattered, and what no sequence has written is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from engine.attention.backend import AttentionShape, ReferenceAttention
from engine.attention.device_batch import DeviceBatch
from engine.attention.forward_batch import ForwardBatch
from engine.attention.kv_cache import LARGEST, KVCache

Chunk = tuple[int, int]

CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where the kernels run, interpreted on a CPU. The reference runs on the CPU."""


@dataclass(frozen=True)
class Step:
    """One step for both. Sequence n of `chunks` has row n of `tables`."""

    chunks: list[Chunk]
    tables: np.ndarray  # [sequences, blocks] int64
    block_size: int
    padding: int = 0  # decodes of length 0, after the others

    @property
    def num_decodes(self) -> int:
        return next((n for n, (_, count) in enumerate(self.chunks) if count > 1), len(self.chunks))

    @property
    def live(self) -> torch.Tensor:
        """Tokens `[tokens]` of the device's batch that are not padding."""
        tokens = sum(count for _, count in self.chunks) + self.padding
        live = torch.ones(tokens, dtype=torch.bool)
        live[self.num_decodes : self.num_decodes + self.padding] = False
        return live

    def positions(self, number: int) -> np.ndarray:
        length, count = self.chunks[number]
        return np.arange(length - count, length)

    def slots(self, number: int, positions: np.ndarray) -> np.ndarray:
        size = self.block_size
        return self.tables[number][positions // size] * size + positions % size

    def host(self) -> ForwardBatch:
        everyone = range(len(self.chunks))
        positions = np.concatenate([self.positions(n) for n in everyone])
        slots = np.concatenate([self.slots(n, self.positions(n)) for n in everyone])
        return ForwardBatch(
            token_ids=torch.zeros(len(positions), dtype=torch.int64),
            positions=torch.from_numpy(positions),
            slots=torch.from_numpy(slots),
            sample_rows=torch.empty(0, dtype=torch.int64),
            host_positions=positions,
            query_starts=np.cumsum([0, *(count for _, count in self.chunks)]),
            block_tables=self.tables,
            num_decodes=self.num_decodes,
        )

    def device(self, longest_context: int | None = None) -> DeviceBatch:
        """Rows of the tables are in another order than the sequences, and more."""
        host, decodes = self.host(), self.num_decodes
        empty = [(0, 1)] * self.padding
        chunks = [*self.chunks[:decodes], *empty, *self.chunks[decodes:]]
        live = self.live
        slots = torch.full((len(live),), -1)
        slots[live] = host.slots
        positions = torch.zeros(len(live), dtype=torch.int32)
        positions[live] = host.positions.int()
        order = np.random.default_rng(3).permutation(len(self.chunks) + 2)
        tables = np.zeros((len(order), self.tables.shape[1]), dtype=np.int32)
        tables[order[: len(self.chunks)]] = self.tables
        rows = [*order[:decodes], *[-1] * self.padding, *order[decodes : len(self.chunks)]]
        return DeviceBatch(
            token_ids=torch.zeros(len(live), dtype=torch.int32, device=DEVICE),
            positions=positions.to(DEVICE),
            slots=slots.to(DEVICE),
            rows=_int32(rows),
            query_starts=_int32(np.cumsum([0, *(count for _, count in chunks)])),
            lengths=_int32([length for length, _ in chunks]),
            block_tables=_int32(tables),
            num_decodes=decodes + self.padding,
            longest_query=max(count for _, count in chunks),
            longest_context=longest_context or max(length for length, _ in chunks),
        )


def _int32(numbers: Sequence[int] | np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(numbers, dtype=np.int32)).to(DEVICE)


def make_step(chunks: list[Chunk], block_size: int, padding: int = 0) -> Step:
    """Blocks are dealt out at random; block 0 belongs to nobody."""
    widths = [-(-length // block_size) for length, _ in chunks]
    blocks = np.random.default_rng(1).permutation(sum(widths) + 3) + 1
    tables = np.zeros((len(chunks), max(widths)), dtype=np.int64)
    taken = 0
    for table, width in zip(tables, widths, strict=True):
        table[:width] = blocks[taken : taken + width]
        taken += width
    return Step(chunks, tables, block_size, padding)


@cache
def all_rows_of(number: int, heads: int, dim: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(number)
    return torch.randn(512, heads, dim, generator=random).bfloat16().float()


def rows_of(number: int, positions: np.ndarray, heads: int, dim: int) -> torch.Tensor:
    """Random numbers `[positions, heads, dim]` that depend on nothing else, exact in bfloat16."""
    return all_rows_of(number, heads, dim)[torch.from_numpy(positions)]


def make_heads(shape: AttentionShape, step: Step, names: list[int] | None = None) -> torch.Tensor:
    """Queries, keys and values `[tokens, heads + 2 * kv heads, dim]` of the step, live ones."""
    names = names or list(range(len(step.chunks)))
    heads = shape.num_heads + 2 * shape.num_kv_heads
    return torch.cat(
        [rows_of(name, step.positions(n), heads, shape.head_dim) for n, name in enumerate(names)]
    )


def make_cache(
    shape: AttentionShape,
    step: Step,
    dtype: torch.dtype = torch.float32,
    names: list[int] | None = None,
    device: torch.device = CPU,
) -> KVCache:
    """NaN but for the keys and values of tokens before this step, which are those of their own
    steps: `make_heads` of a sequence has the same ones."""
    made = KVCache(
        num_layers=len(shape.windows),
        num_blocks=int(step.tables.max()) + 5,
        block_size=step.block_size,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        dtype=dtype,
        device=device,
    )
    for stored in (*made.keys, *made.values):
        stored.copy_(torch.full(stored.shape, float("nan")).to(dtype))
    heads = shape.num_heads + 2 * shape.num_kv_heads
    for number, (length, count) in enumerate(step.chunks):
        before = np.arange(length - count)
        name = names[number] if names else number
        known = rows_of(name, before, heads, shape.head_dim)[:, shape.num_heads :]
        rows = made.rows(torch.from_numpy(step.slots(number, before)).to(device))
        known = known if dtype in LARGEST else known.to(dtype)
        k, v = known.to(device).split(shape.num_kv_heads, 1)
        for layer in range(len(shape.windows)):
            made.store(layer, k, v, rows)
    return made


def reference(
    shape: AttentionShape,
    step: Step,
    heads: torch.Tensor,
    layer: int,
    cache_dtype: torch.dtype = torch.float32,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """What attention in float32 gives for the live tokens, without rotation."""
    q, k, v = heads.float().split((shape.num_heads, shape.num_kv_heads, shape.num_kv_heads), 1)
    backend = ReferenceAttention(shape, make_cache(shape, step, cache_dtype))
    return backend.begin(step.host()).attend(layer, q, k, v, sinks)


def spread(step: Step, rows: torch.Tensor) -> torch.Tensor:
    """Put rows of live tokens where the device's batch has them; padding is NaN."""
    spread_rows = torch.full((len(step.live), *rows.shape[1:]), float("nan"), dtype=rows.dtype)
    spread_rows[step.live] = rows
    return spread_rows.to(DEVICE)
