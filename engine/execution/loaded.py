"""What loading a model on a device gives. Knows nothing of how it is done."""

from __future__ import annotations

from typing import NamedTuple

from engine.execution.runner import Runner


class Loaded(NamedTuple):
    """A runner, the blocks of its cache (the padding block included), and in words whatever of
    the device decides on the last bits of its results."""

    runner: Runner
    num_blocks: int
    kind: str
