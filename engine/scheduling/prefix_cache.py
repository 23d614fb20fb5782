"""Which block of the cache holds which text, found by content.

A full block is named by a chained digest: its parent's name and its own token ids, so that one
name stands for everything from the first token on. 128 bits of BLAKE2b make two texts under one
name as likely as a memory fault, also for texts chosen by an adversary, so a hit compares names
only. Knows nothing of reference counts or of who runs: `BlockManager` tells it what it evicts.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

from engine.scheduling.sequence import Sequence

_ROOT = bytes(16)


def block_key(parent: bytes, token_ids: list[int]) -> bytes:
    """The 16-byte name of a full block of `token_ids` that follows the text named `parent`."""
    return blake2b(parent + array("I", token_ids).tobytes(), digest_size=16).digest()


class PrefixCache:
    """A two-way map of block names and block ids.

    A block is registered when the step that fills it is *planned*: within a step every layer
    stores all keys and values before attention reads any, so sequences planned together may
    already share it. A step that then fails must be taken back with `forget`.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._block_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._block_of)

    def __contains__(self, block_id: int) -> bool:
        return block_id in self._key_of

    def find(self, sequence: Sequence, max_tokens: int) -> list[int]:
        """Blocks of the longest cached prefix of the sequence's text, at most `max_tokens` long."""
        limit = max_tokens // self._block_size
        self._name_blocks(sequence, limit)
        found: list[int] = []
        for key in sequence.block_keys[:limit]:
            block_id = self._block_of.get(key)
            if block_id is None:
                break
            found.append(block_id)
        return found

    def register(self, sequence: Sequence, start: int, stop: int) -> list[int]:
        """Name the sequence's blocks that are filled by computing positions [start, stop).

        Returns the blocks that are new here. A text that some block already holds keeps that
        one; the sequence's own copy stays private to it.
        """
        first, last = start // self._block_size, stop // self._block_size
        self._name_blocks(sequence, last)
        added: list[int] = []
        for index in range(first, last):
            key, block_id = sequence.block_keys[index], sequence.block_ids[index]
            if key not in self._block_of:
                assert block_id not in self._key_of, "a block holds one text at a time"
                self._block_of[key] = block_id
                self._key_of[block_id] = key
                added.append(block_id)
        return added

    def forget(self, block_id: int) -> None:
        """The block no longer holds what it was registered for. Unknown blocks are ignored."""
        key = self._key_of.pop(block_id, None)
        if key is not None:
            del self._block_of[key]

    def reset(self) -> None:
        """Forget every block."""
        self._block_of.clear()
        self._key_of.clear()

    def _name_blocks(self, sequence: Sequence, count: int) -> None:
        """Known tokens never change, so each block is hashed once in a sequence's life."""
        keys, size = sequence.block_keys, self._block_size
        parent = keys[-1] if keys else _ROOT
        for index in range(len(keys), count):
            parent = block_key(parent, sequence.token_ids(index * size, (index + 1) * size))
            keys.append(parent)
