"""The tensors of one step where nothing of them is known to the host.

The counterpart of `ForwardBatch` for GPUs: kernels made it from tables that stay on the device, so
a step can be launched before the tokens of the one before are read. Knows nothing of models or of
how attention is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """All tokens of one step, sequence after sequence, decodes first; all tensors on the device.

    Padding, which steps of a fixed size need, comes as decodes of length 0: a slot of -1 stores
    nothing, and a sequence without keys attends to nothing and gives zeros.
    """

    token_ids: Tensor  # [tokens] int32
    positions: Tensor  # [tokens] int32
    slots: Tensor  # [tokens] int64: block * block_size + offset, -1 for padding
    rows: Tensor  # [sequences] int32: each one's row of `block_tables`
    query_starts: Tensor  # [sequences + 1] int32: first token of each sequence
    lengths: Tensor  # [sequences] int32: keys that the last query sees, itself included
    block_tables: Tensor  # [rows, blocks] int32: of every row, used or not
    num_decodes: int  # the first sequences, with one token each
    longest_query: int  # tokens of the longest chunk
    longest_context: int  # keys of the longest sequence at most; sizes grids, bounds no loop
