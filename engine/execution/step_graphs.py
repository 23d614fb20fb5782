"""The model's part of a decode step: one token of each sequence in, its logits out.

A step is padded to one of a few sizes. On a GPU the kernels of a size are captured as a CUDA graph
when it first occurs, and replayed from then on, which spares the host a launch for each of them.
Knows nothing of sampling.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from engine.execution.step_packet import PacketLayout

Forward = Callable[[PacketLayout], Tensor]
"""Logits `[sequences, vocab]` of the packet that was received last; launches kernels only."""


def decode_sizes(most: int) -> list[int]:
    """Sizes that steps are padded to: powers of two, then multiples of 8, of 16, and of 32.

    A padded row costs next to nothing where weights are read for all, and the more sizes, the more
    graphs; a tail of at most an eighth keeps attention, which is paid by row, from wasting more.
    """
    sizes = [1, 2, 4, *range(8, 64, 8), *range(64, 128, 16), *range(128, most + 32, 32)]
    return [*(size for size in sizes if size < most), most]


class DecodeSteps:
    """Runs decode steps of up to `most` sequences."""

    def __init__(self, forward: Forward, most: int, *, capture: bool) -> None:
        """`capture`: keep a CUDA graph of each size, all in one pool of memory."""
        self._forward = forward
        self.sizes = decode_sizes(most)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if capture else None

    def padded(self, num_sequences: int) -> int:
        """The size of a step with so many sequences."""
        return self.sizes[bisect_left(self.sizes, num_sequences)]

    def run(self, layout: PacketLayout) -> Tensor:
        """Logits `[sequences, vocab]`, valid until the next step of this size."""
        if self._pool is None:
            return self._forward(layout)
        size = layout.num_sequences
        if size not in self._graphs:
            self._graphs[size] = self._captured(layout)
        graph, logits = self._graphs[size]
        graph.replay()
        return logits

    def _captured(self, layout: PacketLayout) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A run before the capture compiles the kernels and lets libraries make their handles."""
        self._forward(layout)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._forward(layout)
        return graph, logits
