"""Lists of token ids of different lengths, one per row, in a table on the device.

Knows nothing of what the ids or their values are for; how long each list is, is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.sampling.upload import upload

_FIRST_CAPACITY = 8


class RowLists:
    """Per row a list of ids, each with a value.

    ids: int32 [rows, capacity]; values: float32 [rows, capacity]. The capacity doubles when a list
    does not fit. What lies behind a list's end means nothing.
    """

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self._device = device
        self._table = torch.zeros((num_rows, 2, _FIRST_CAPACITY), dtype=torch.int32, device=device)
        self._staged: dict[int, NDArray[np.int32]] = {}

    @property
    def ids(self) -> Tensor:
        return self._table[:, 0]

    @property
    def values(self) -> Tensor:
        return self._table.view(torch.float32)[:, 1]

    @property
    def stride(self) -> int:
        """Entries of `ids` or `values` from row to row."""
        return self._table.stride(0)

    def stage(self, row: int, ids: Sequence[int], values: Sequence[float] | None = None) -> None:
        """Remember a row's new list; without `values` these are 0."""
        staged = np.zeros((2, len(ids)), dtype=np.int32)
        staged[0] = ids
        if values is not None:
            staged[1] = np.asarray(values, dtype=np.float32).view(np.int32)
        self._staged[row] = staged

    def flush(self) -> None:
        """Bring what is staged to the device."""
        if not self._staged:
            return
        width = max(staged.shape[1] for staged in self._staged.values())
        self._reserve(width)
        packed = np.zeros((len(self._staged), 1 + 2 * width), dtype=np.int32)
        for index, (row, staged) in enumerate(self._staged.items()):
            packed[index, 0] = row
            packed[index, 1:].reshape(2, width)[:, : staged.shape[1]] = staged
        self._staged.clear()
        device = upload(packed, self._device)
        lists = device[:, 1:].view(-1, 2, width)
        self._table[:, :, :width].index_copy_(0, device[:, 0].to(torch.int64), lists)

    def _reserve(self, width: int) -> None:
        before = capacity = self._table.shape[2]
        while capacity < width:
            capacity *= 2
        if capacity > before:
            self._table = functional.pad(self._table, (0, capacity - before))
