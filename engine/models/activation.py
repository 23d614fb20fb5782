"""The activations of gates, by the names that config.json has for them.

Both are `x * sigmoid(u)`: with `u = x` it is SiLU, with `u = 2 sqrt(2 / pi) (x + 0.044715 x^3)` the
approximation of GELU by a hyperbolic tangent (arXiv 1606.08415). Knows nothing of who computes it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

Activation = Literal["silu", "gelu_tanh"]

ACTIVATIONS: MappingProxyType[str, Activation] = MappingProxyType(
    {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
)

GELU_LINEAR = 1.5957691216057308
"""`2 sqrt(2 / pi)`: what `u` of GELU has of `x`."""
GELU_CUBIC = 0.07135481282553625
"""And of its cube."""
