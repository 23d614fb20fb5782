"""Who owns which block of the key-value cache. Every operation is O(1) per block.

A block is *live* (referenced by at least one sequence), *cached* (unreferenced, but the prefix
cache knows its text: kept until the room is needed, least recently used first) or *blank*. Knows
nothing of scheduling, tokens or tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from engine.scheduling.prefix_cache import PrefixCache

PADDING_BLOCK = 0
"""Never handed out: attention pads its block tables with it."""


class BlockManager:
    """Reference counts of `num_blocks` blocks of `block_size` tokens, the padding block included.

    `prefix_cache` None turns reuse off. A *table* is a sequence's list of block ids, in order.
    """

    def __init__(self, num_blocks: int, block_size: int, prefix_cache: PrefixCache | None) -> None:
        if num_blocks < 2 or block_size < 1:
            raise ValueError(f"no cache of {num_blocks} blocks of {block_size} tokens can work")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_cache = prefix_cache
        self._references = [0] * num_blocks
        self._blank = list(range(num_blocks - 1, PADDING_BLOCK, -1))  # the lowest is taken first
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first

    @property
    def blocks_total(self) -> int:
        """Blocks that sequences can own: all but the padding block."""
        return self.num_blocks - 1

    @property
    def blocks_used(self) -> int:
        """Blocks referenced by a live sequence."""
        return self.blocks_total - self.blocks_free

    @property
    def blocks_free(self) -> int:
        """Blocks that can be allocated now, cached ones included."""
        return len(self._blank) + len(self._cached)

    @property
    def capacity(self) -> int:
        """Tokens that fit when one sequence has all blocks."""
        return self.blocks_total * self.block_size

    def references(self, block_id: int) -> int:
        """How many tables hold the block."""
        return self._references[block_id]

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens fill, the last one perhaps in part."""
        return -(-num_tokens // self.block_size)

    def append(self, table: list[int], num_tokens: int) -> None:
        """Extend `table` with blocks of its own until it holds `num_tokens` tokens."""
        missing = self.blocks_for(num_tokens) - len(table)
        assert missing <= self.blocks_free, "the caller checks that there is room"
        for _ in range(missing):
            table.append(self._take())

    def share(self, block_ids: list[int]) -> list[int]:
        """A new table that begins with these registered blocks, now referenced once more."""
        for block_id in block_ids:
            if self._references[block_id] == 0:
                del self._cached[block_id]
            self._references[block_id] += 1
        return list(block_ids)

    def num_cached(self, block_ids: list[int]) -> int:
        """How many of these blocks count as free now and would not once they are shared."""
        return list(map(self._references.__getitem__, block_ids)).count(0)

    def release(self, table: list[int]) -> None:
        """Drop one reference to each block of `table` and empty it.

        From the end, so that of an unused text the tail is evicted before the beginning, which
        more texts can share and without which the tail could not be found.
        """
        while table:
            block_id = table.pop()
            self._references[block_id] -= 1
            assert self._references[block_id] >= 0, "released more often than taken"
            if self._references[block_id] == 0:
                if self.prefix_cache is not None and block_id in self.prefix_cache:
                    self._cached[block_id] = None
                else:
                    self._blank.append(block_id)

    def forget(self, block_ids: Iterable[int]) -> None:
        """These blocks do not hold what the prefix cache says; live ones stay with their owners."""
        if self.prefix_cache is None:
            return
        for block_id in block_ids:
            self.prefix_cache.forget(block_id)
            if block_id in self._cached:
                del self._cached[block_id]
                self._blank.append(block_id)

    def reset_cache(self) -> None:
        """Forget every cached text; live blocks stay with their owners."""
        if self.prefix_cache is not None:
            self.prefix_cache.reset()
        self._blank.extend(self._cached)
        self._cached.clear()

    def _take(self) -> int:
        if self._blank:
            block_id = self._blank.pop()
        else:
            block_id, _ = self._cached.popitem(last=False)
            assert self.prefix_cache is not None
            self.prefix_cache.forget(block_id)
        self._references[block_id] = 1
        return block_id
