"""Sets of token ids as packed bits: the bit of id `i` is bit `i % 32` of word `i // 32`.

Knows nothing of grammars.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int32]
"""int32 [words]; a mask of several rows is int32 [rows, words]."""


def pack(token_ids: Iterable[int], num_words: int) -> Bits:
    """The set of these ids; those beyond the last word are left out."""
    flags = np.zeros(num_words * 32, dtype=bool)
    flags[[token_id for token_id in token_ids if token_id < len(flags)]] = True
    return np.packbits(flags, bitorder="little").view(np.int32)
