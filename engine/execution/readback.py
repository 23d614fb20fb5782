"""Results on their way from a device to the host, which reads them when it likes.

Knows nothing of what they mean.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Readback:
    """The tensors of one step. First all are fetched, then `close` marks the point in the device's
    work from which on they may be read."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._event = torch.cuda.Event() if self._on_gpu else None

    def fetch(self, tensor: Tensor) -> Tensor:
        """A copy in the host's memory, empty until `wait` has returned."""
        if not self._on_gpu:
            return tensor
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(
            tensor, non_blocking=True
        )

    def close(self) -> None:
        """Nothing more is fetched."""
        if self._event is not None:
            self._event.record()

    def wait(self) -> None:
        """Until everything fetched is there. Raises `RuntimeError` when the device failed."""
        if self._event is not None:
            self._event.synchronize()
