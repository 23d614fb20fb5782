"""The gated MLP of a decoder layer, in plain torch: `down(activation(gate y) * up y)`
(arXiv 2002.05202). Knows nothing of norms before or after it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from engine.models.activation import Activation
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
        return self.up.times(y, self.gate.activated(y, self.activation))
