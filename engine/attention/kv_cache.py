"""The tensors of the paged key-value cache, and how many blocks of it fit.

Knows nothing of who owns a block (`engine.scheduling.blocks` does) or of attention itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from engine.errors import EngineFault

LARGEST = {torch.float8_e4m3fn: 448.0}
"""Of dtypes whose range is so small that what is stored must be clamped to it.

There is no scale beside it: keys and values of language models lie well within +-448, keys being
normalized or rotated products of normalized vectors, and e4m3 keeps its 3 bits of mantissa from
448 down to 2^-6, so a scale would move numbers in a range that already holds them.
"""


class KVCache:
    """Keys and values of each layer, `[num_blocks, num_kv_heads, block_size, head_dim]`.

    A block's share of one head is contiguous, so that a gather by (block, head) gives each head's
    keys in one piece. Starts as zeros: padding reads block 0 and must find finite numbers there.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        num_blocks: int,
        block_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_blocks, num_kv_heads, block_size, head_dim)
        self.num_blocks = num_blocks
        self.num_kv_heads = num_kv_heads
        self.block_size = block_size
        self.keys = [_zeros(shape, dtype, device) for _ in range(num_layers)]
        self.values = [_zeros(shape, dtype, device) for _ in range(num_layers)]
        self._key_rows = [layer.view(-1, head_dim) for layer in self.keys]
        self._value_rows = [layer.view(-1, head_dim) for layer in self.values]

    def rows(self, slots: torch.Tensor) -> torch.Tensor:
        """Where the heads of tokens at `slots` `[tokens]` live: `[tokens * num_kv_heads]`."""
        size = self.block_size
        heads = torch.arange(self.num_kv_heads, device=slots.device)
        blocks, offsets = slots // size, slots % size
        return ((blocks[:, None] * self.num_kv_heads + heads) * size + offsets[:, None]).flatten()

    def store(self, layer: int, k: torch.Tensor, v: torch.Tensor, rows: torch.Tensor) -> None:
        """Write keys and values `[tokens, num_kv_heads, head_dim]` to `rows` of `self.rows`."""
        for cached, new in ((self._key_rows[layer], k), (self._value_rows[layer], v)):
            new = new.reshape(-1, new.shape[-1])
            limit = LARGEST.get(cached.dtype)
            if limit is None:
                cached.index_copy_(0, rows, new)
            else:  # by its bytes: torch copies no rows of such a dtype
                new = new.clamp(-limit, limit).to(cached.dtype)
                cached.view(torch.uint8).index_copy_(0, rows, new.view(torch.uint8))


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros. On a CPU the system hands out the pages when they are first written, which makes an
    unused cache cost neither time nor memory; `torch.zeros` would write every page at once."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(pages).view(dtype).view(shape)


def blocks_that_fit(
    *, bytes_free: float, bytes_per_token: int, block_size: int, most_tokens: int, least_tokens: int
) -> int:
    """How many blocks to make: what fits in `bytes_free`, at most `most_tokens` worth.

    One block more than asked is counted, for the padding block.

    Raises:
        EngineFault: not even `least_tokens` (one sequence of full length) fit.
    """
    fitting = int(bytes_free // bytes_per_token)
    if fitting < least_tokens:
        raise EngineFault(
            f"The key-value cache for one sequence of {least_tokens} tokens needs "
            f"{least_tokens * bytes_per_token / 2**20:.0f} MiB, but {bytes_free / 2**20:.0f} MiB "
            "are free: lower --max-model-len."
        )
    return -(-min(fitting, most_tokens) // block_size) + 1
