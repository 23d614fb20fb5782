"""The gated MLP of a decoder layer, in plain torch: `down(activation(gate y) * up y)`
(arXiv 2002.05202), or with bounds, see `engine.models.activation`. Knows nothing of norms before or
after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.activation import CLAMP, CLAMPED_SLOPE, Activation
from engine.models.linear import Linear


@dataclass(frozen=True, slots=True)
class GatedMlp:
    """Three products. y: `[tokens, hidden]`."""

    gate: Linear
    up: Linear
    down: Linear
    activation: Activation

    def __call__(self, y: Tensor) -> Tensor:
        """`[tokens, hidden]`."""
        return self.down(self._gated(y))

    def plus(self, y: Tensor, other: Tensor) -> Tensor:
        """The same, added to `other`."""
        return self.down.plus(self._gated(y), other)

    def _gated(self, y: Tensor) -> Tensor:
        if self.activation == "clamped":
            return clamped(self.gate(y), self.up(y))
        return self.up.times(y, self.gate.activated(y, self.activation))


def clamped(gate: Tensor, up: Tensor) -> Tensor:
    """Bounded values through bounded gates."""
    # Of numbers that do not lie side by side torch takes one at a time, never a vector of them and
    # then a rest, by another exponential: so a row's bits do not tell its place.
    gate, up = torch.stack((gate, up), dim=-1).unbind(-1)
    gate = gate.clamp(max=CLAMP)
    return gate * torch.sigmoid(gate * CLAMPED_SLOPE) * (up.clamp(-CLAMP, CLAMP) + 1)
