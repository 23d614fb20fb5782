"""Kernels that make a step's tensors on the device, from a packet and the tables of the rows.

Compiled once each: they do not ask how long a packet's parts are or where these lie. Know nothing
of models.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_TOKENS = 128  # of one program; a decode uses one lane of them, which costs nothing that shows
_UPDATES = 256


@triton.jit(do_not_specialize=["count"])
def _update_blocks(updates, table, count, width, SIZE: tl.constexpr):
    number = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    valid = number < count
    row = tl.load(updates + number * 3, mask=valid, other=0).to(tl.int64)
    index = tl.load(updates + number * 3 + 1, mask=valid, other=0)
    block = tl.load(updates + number * 3 + 2, mask=valid, other=0)
    tl.store(table + row * width + index, block, mask=valid)


@triton.jit(do_not_specialize_on_alignment=["rows", "starts", "query_starts", "given_ids"])
def _build_inputs(
    rows,
    starts,
    query_starts,
    given_ids,
    drawn,
    table,
    width,
    token_ids,
    positions,
    slots,
    lengths,
    BLOCK_SIZE: tl.constexpr,
    SIZE: tl.constexpr,
):
    sequence = tl.program_id(0)
    row = tl.load(rows + sequence).to(tl.int64)
    real = row >= 0
    start = tl.load(starts + sequence)
    first = tl.load(query_starts + sequence)
    count = tl.load(query_starts + sequence + 1) - first
    number = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    valid = number < count
    position = start + number
    given = tl.load(given_ids + first + number, mask=valid, other=0)
    own = tl.load(drawn + row, mask=real, other=0)
    block = tl.load(table + row * width + position // BLOCK_SIZE, mask=valid & real, other=0)
    slot = block.to(tl.int64) * BLOCK_SIZE + position % BLOCK_SIZE
    tl.store(token_ids + first + number, tl.where(given < 0, own, given), mask=valid)
    tl.store(positions + first + number, tl.where(real, position, 0), mask=valid)
    tl.store(slots + first + number, tl.where(real, slot, -1), mask=valid)
    if tl.program_id(1) == 0:
        tl.store(lengths + sequence, tl.where(real, start + count, 0))


@triton.jit(do_not_specialize=["count"])
def _record_draws(rows, token_ids, drawn, count, SIZE: tl.constexpr):
    number = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    valid = number < count
    row = tl.load(rows + number, mask=valid, other=-1)
    token = tl.load(token_ids + number, mask=valid, other=0)
    tl.store(drawn + row, token.to(tl.int32), mask=valid & (row >= 0))


def update_blocks(updates: Tensor, block_tables: Tensor) -> None:
    """Write `updates` int32 `[n, 3]` (row, index, block) to `block_tables` `[rows, blocks]`."""
    count = len(updates)
    grid = (triton.cdiv(count, _UPDATES),)
    _update_blocks[grid](updates, block_tables, count, block_tables.stride(0), SIZE=_UPDATES)


def record_draws(rows: Tensor, token_ids: Tensor, drawn: Tensor) -> None:
    """`drawn[rows] = token_ids`, both `[n]`; rows of -1 are passed over."""
    grid = (triton.cdiv(len(rows), _UPDATES),)
    _record_draws[grid](rows, token_ids, drawn, len(rows), SIZE=_UPDATES)


def build_inputs(
    rows: Tensor,
    starts: Tensor,
    query_starts: Tensor,
    given_ids: Tensor,
    drawn: Tensor,
    block_tables: Tensor,
    *,
    block_size: int,
    longest_query: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `DeviceBatch` wants: token ids, positions, slots, lengths.

    Args:
        rows, starts, query_starts, given_ids: see `engine.execution.step_packet.PacketLayout`.
        drawn: `[rows]` int32, the newest token of each row.
        block_tables: `[rows, blocks]` int32.
        longest_query: tokens of the longest chunk; sizes the grid.
    """
    token_ids = torch.empty_like(given_ids)
    positions = torch.empty_like(given_ids)
    slots = torch.empty_like(given_ids, dtype=torch.int64)
    lengths = torch.empty_like(rows)
    grid = (len(rows), triton.cdiv(longest_query, _TOKENS))
    _build_inputs[grid](
        rows,
        starts,
        query_starts,
        given_ids,
        drawn,
        block_tables,
        block_tables.stride(0),
        token_ids,
        positions,
        slots,
        lengths,
        BLOCK_SIZE=block_size,
        SIZE=_TOKENS,
    )
    return token_ids, positions, slots, lengths
