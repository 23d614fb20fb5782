"""Small arrays on their way from the host to the device, without a wait on the way.

A copy from ordinary memory makes the host wait until the device has caught up; one from pinned
memory does not. Torch keeps the pinned memory until the copy is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device, as far as work launched after this call can tell."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def pack_bits(ids: Sequence[int], vocab_size: int) -> NDArray[np.int32]:
    """A set of ids as int32 [words], the bit of id i being bit i % 32 of word i // 32."""
    chosen = np.zeros(num_words(vocab_size) * 32, dtype=np.uint8)
    chosen[np.asarray(ids, dtype=np.int64)] = 1
    return np.packbits(chosen, bitorder="little").view("<i4").astype(np.int32, copy=False)


def num_words(vocab_size: int) -> int:
    """Words of 32 bits that hold a bit for every id."""
    return -(-vocab_size // 32)
