"""Values through activated gates by plain torch, as an oracle for kernels."""

from __future__ import annotations

from torch import Tensor

from engine.models.activation import Activation
from engine.models.linear import activate
from engine.models.mlp import clamped


def through_gate(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    """See `engine.models.activation`."""
    return clamped(gate, up) if activation == "clamped" else activate(gate, activation) * up
