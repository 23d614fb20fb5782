"""The experts of a layer, from what a checkpoint has them in to matrices of their own.

Knows the names and layouts; nothing of where tensors come from or what multiplies by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from engine.errors import ModelLoadError
from engine.models.layer_weights import GatedWeights, Projection
from engine.models.mxfp4 import BLOCK, expanded

Take = Callable[[str, tuple[int, ...]], Tensor]
"""A tensor by its name and shape."""


@dataclass(frozen=True, slots=True)
class FusedExperts:
    """Reads what gpt-oss has: all experts in one tensor, gates and values in turn.

    `take` gives tensors in the dtype that is computed in, `take_bytes` bytes; both on the device.
    `four_bits` says how weights are stored, `keeps_four_bits` that they are wanted like that.
    """

    take: Take
    take_bytes: Take
    experts: int
    hidden: int
    wide: int
    four_bits: bool
    keeps_four_bits: bool

    def read(self, prefix: str) -> list[GatedWeights]:
        """One after the other.

        Raises:
            ModelLoadError: as `take`, or sizes that do not suit four bits.
        """
        both = self._projection(f"{prefix}gate_up_proj", 2 * self.wide, self.hidden)
        down = self._projection(f"{prefix}down_proj", self.hidden, self.wide)
        return [
            GatedWeights(
                gate=_part(both, number, step=2),
                up=_part(both, number, first=1, step=2),
                down=_part(down, number),
            )
            for number in range(self.experts)
        ]

    def _projection(self, name: str, out: int, into: int) -> Projection:
        """As of one matrix, with the experts as a dimension before all others."""
        bias = self.take(f"{name}_bias", (self.experts, out))
        if not self.four_bits:
            return Projection(self.take(name, (self.experts, into, out)).transpose(1, 2), bias)
        if into % BLOCK:
            raise ModelLoadError(f"Weights: {name} has blocks of {BLOCK}, but {into} columns.")
        shape = (self.experts, out, into // BLOCK)
        blocks = self.take_bytes(f"{name}_blocks", (*shape, BLOCK // 2))
        scales = self.take_bytes(f"{name}_scales", shape)
        if self.keeps_four_bits:
            return Projection(blocks, bias, scales)
        return Projection(expanded(blocks, scales, bias.dtype), bias)


def _part(fused: Projection, expert: int, *, first: int = 0, step: int = 1) -> Projection:
    """Some outputs of one expert."""

    def part(one: Tensor) -> Tensor:
        return one[expert, first::step].contiguous()

    bias, scales = (None if one is None else part(one) for one in (fused.bias, fused.scales))
    return Projection(part(fused.weight), bias, scales)
