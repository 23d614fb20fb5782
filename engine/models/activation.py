"""The activations of gates, by the names that config.json has for them.

All are `x * sigmoid(u)`: with `u = x` it is SiLU, with `u = 2 sqrt(2 / pi) (x + 0.044715 x^3)` the
approximation of GELU by a hyperbolic tangent (arXiv 1606.08415), with `u = 1.702 x` that by the
sigmoid itself. The last, of gpt-oss, has bounds: gates are 7 at the most before it, and values, -7
to 7, are multiplied by after one is added to them (its reference implementation). Knows nothing of
who computes it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

PlainActivation = Literal["silu", "gelu_tanh"]
"""Of gates alone: values are multiplied by as they are."""
Activation = Literal["silu", "gelu_tanh", "clamped"]

ACTIVATIONS: MappingProxyType[str, PlainActivation] = MappingProxyType(
    {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
)
"""`clamped` has none of its own: it is what gpt-oss means by SiLU."""

GELU_LINEAR = 1.5957691216057308
"""`2 sqrt(2 / pi)`: what `u` of GELU has of `x`."""
GELU_CUBIC = 0.07135481282553625
"""And of its cube."""
CLAMPED_SLOPE = 1.702
"""`u` of the clamped one, by `x`."""
CLAMP = 7.0
