"""Weights in the order in which the compiled products read them.

Sixteen columns of a result are a unit. A unit's weights lie in the order of the sum, one float32 or
a pair of bfloat16 of each column at a time. Knows nothing of what the weights are for.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.native.kernels import DTYPES, LANES, Linear


class PackedWeights:
    """The weights of one product; `linear` is how the kernels see them."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: `[out, into]`, float32 or bfloat16, `into` a multiple of 16; bias: `[out]`."""
        out, into = weight.shape
        assert weight.dtype in DTYPES and into % LANES == 0, "not given to these kernels"
        spare = -out % LANES
        step = 4 // weight.dtype.itemsize
        units = functional.pad(weight, (0, 0, 0, spare)).view(-1, LANES, into // step, step)
        self.weight = units.transpose(1, 2).contiguous()
        self.bias = None if bias is None else functional.pad(bias.float(), (0, spare))
        self.linear = Linear(
            self.weight.data_ptr(), None if self.bias is None else self.bias.data_ptr(), into, out
        )


def in_turn(first: Tensor, second: Tensor) -> Tensor:
    """Units of two weights (or biases) of the same shape `[out, ...]` in turn, `[2 * out, ...]`.

    `out` is a multiple of 16.
    """
    shape = (-1, LANES, *first.shape[1:])
    return torch.stack((first.view(shape), second.view(shape)), 1).flatten(0, 2)
