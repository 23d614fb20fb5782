"""What a device keeps of the running sequences, a row each, and the batches it makes of that.

Kernels write a step's tensors from these tables and a packet (see `engine.execution.step_packet`),
so the host need not know the tokens of a step to launch the next. Knows nothing of models.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attention.device_batch import DeviceBatch
from engine.execution.step_packet import PacketLayout, Words
from engine.execution.step_size import StepSize
from engine.execution.triton_inputs import build_inputs, record_draws, update_blocks
from engine.sampling.upload import upload


class RowTables:
    """Block tables and newest tokens of `num_rows` rows, for contexts of `max_model_len` tokens."""

    def __init__(
        self,
        num_rows: int,
        *,
        max_model_len: int,
        max_step_tokens: int,
        block_size: int,
        device: torch.device,
    ) -> None:
        """`max_step_tokens`: tokens and sequences of the largest step, its padding included."""
        width = -(-max_model_len // block_size)
        self._block_size = block_size
        self._max_model_len = max_model_len
        self._device = device
        self._block_tables = torch.zeros((num_rows, width), dtype=torch.int32, device=device)
        self._drawn = torch.zeros(num_rows, dtype=torch.int32, device=device)
        # All packets arrive at this address, so that captured graphs find theirs.
        size = PacketLayout(max_step_tokens, max_step_tokens).size
        self._packet = torch.zeros(size, dtype=torch.int32, device=device)

    def receive(self, packet: Words, updates: Words | None) -> None:
        """Take in a step's news. Does not wait for the device."""
        arrived = upload(packet, self._device)
        self._packet[: len(packet)].copy_(arrived, non_blocking=True)
        if updates is not None:
            update_blocks(upload(updates, self._device), self._block_tables)

    def rows(self, layout: PacketLayout) -> Tensor:
        """`[sequences]` int32, of the packet that was received last."""
        return self._packet[layout.rows]

    def batch(
        self, layout: PacketLayout, *, num_decodes: int, longest_query: int, longest_context: int
    ) -> DeviceBatch:
        """The tensors of the packet that was received last. Only launches kernels."""
        rows, query_starts = self.rows(layout), self._packet[layout.query_starts]
        token_ids, positions, slots, lengths = build_inputs(
            rows,
            self._packet[layout.starts],
            query_starts,
            self._packet[layout.token_ids],
            self._drawn,
            self._block_tables,
            block_size=self._block_size,
            longest_query=longest_query,
        )
        return DeviceBatch(
            token_ids=token_ids,
            positions=positions,
            slots=slots,
            rows=rows,
            query_starts=query_starts,
            lengths=lengths,
            block_tables=self._block_tables,
            num_decodes=num_decodes,
            longest_query=longest_query,
            longest_context=longest_context,
        )

    def padded_batch(self, layout: PacketLayout, size: StepSize) -> DeviceBatch:
        """As `batch`, for a step that was padded; the same for every such packet."""
        return self.batch(
            layout,
            num_decodes=size.decodes,
            longest_query=size.chunk_tokens or 1,
            longest_context=self._max_model_len,
        )

    def record(self, rows: Tensor, token_ids: Tensor) -> None:
        """These tokens were drawn for these rows, both `[n]`."""
        record_draws(rows, token_ids, self._drawn)
