"""Steps as CUDA graphs: captured when a size occurs again, replayed from then on.

A replay spares the host a launch for each kernel, which takes it longer than small steps take the
card. Where a card has no memory left for a graph, steps run without. Knows nothing of what a step
computes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from engine.execution.step_size import StepSize

log = logging.getLogger(__name__)


class StepGraphs:
    """Runs what only launches kernels, on tensors that stay where they are."""

    def __init__(self, *, capture: bool, beside: StepGraphs | None = None) -> None:
        """`capture`: keep a graph of each size, all in one pool of memory, that of others which run
        `beside` them, but never at the same time."""
        self._pool = None
        if capture:
            self._pool = torch.cuda.graph_pool_handle() if beside is None else beside._pool
        self._has_room = capture
        self._seen: set[StepSize] = set()
        self._graphs: dict[StepSize, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    @property
    def captures(self) -> bool:
        """Whether sizes that come back are replayed."""
        return self._pool is not None

    def run(self, size: StepSize, forward: Callable[[], Tensor]) -> Tensor:
        """What `forward` gives for the size, always the same; valid until the next such step.

        The first time it runs as it is, which compiles kernels and lets libraries make their
        handles; a size that does not come back costs no more.
        """
        if size in self._seen and size not in self._graphs and self._has_room:
            self._capture(size, forward)
        self._seen.add(size)
        if size not in self._graphs:
            return forward()
        graph, result = self._graphs[size]
        graph.replay()
        return result

    def _capture(self, size: StepSize, forward: Callable[[], Tensor]) -> None:
        """Keep a graph of the size, or none of it and of any other from now on."""
        try:
            self._graphs[size] = self._captured(forward)
        except torch.OutOfMemoryError:
            log.warning("No memory is left for more CUDA graphs: some steps will take longer.")
            self._has_room = False

    def _captured(self, forward: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = forward()
        return graph, result
