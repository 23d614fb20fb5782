"""The tensors of the paged key-value cache, and how many blocks of it fit.

Knows nothing of who owns a block (`engine.scheduling.blocks` does) or of attention itself.
"""

from __future__ import annotations

import torch

from engine.errors import EngineFault


class KVCache:
    """One tensor per layer, `[num_blocks, block_size, 2, num_kv_heads, head_dim]`.

    Keys are at index 0 of the third axis, values at 1, so that one gather fetches both. Starts as
    zeros: padding reads block 0 and must find finite numbers there.
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
        shape = (num_blocks, block_size, 2, num_kv_heads, head_dim)
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.layers = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        slots = (num_blocks * block_size, 2, num_kv_heads, head_dim)
        self._slots = [layer.view(slots) for layer in self.layers]

    def store(self, layer: int, k: torch.Tensor, v: torch.Tensor, slots: torch.Tensor) -> None:
        """Write keys and values `[tokens, num_kv_heads, head_dim]` to `slots` `[tokens]` int64."""
        target = self._slots[layer]
        target[:, 0].index_copy_(0, slots, k)
        target[:, 1].index_copy_(0, slots, v)


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
