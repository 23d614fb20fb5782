"""Weights in the order in which the compiled products read them.

Sixteen columns of a result are a unit. A unit's weights lie in the order of the sum, one float32 or
a pair of bfloat16 of each column at a time. Knows nothing of what the weights are for.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from engine.native.kernels import DTYPES, LANES, Linear

_LARGE_PAGE = 2**21


class PackedWeights:
    """The weights of one product; `linear` is how the kernels see them."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        scales: Tensor | None = None,
        *,
        int8: bool = False,
    ) -> None:
        """Lay out.

        Args:
            weight: `[out, into]`, float32 or bfloat16, `into` a multiple of 16; with scales, uint8
                `[out, into / 32, 16]`.
            bias: `[out]` or None.
            scales: uint8 `[out, into / 32]`, of weights of four bits, or None.
            int8: keep eight bits of each weight that has more, see `rounded`.
        """
        out, spare = len(weight), -len(weight) % LANES
        scale = None
        if scales is not None:
            into = 2 * weight[0].numel()
            units = _four_bit_units(weight, scales, spare)
        else:
            into, step = weight.shape[1], 4 // weight.dtype.itemsize
            assert weight.dtype in DTYPES and into % LANES == 0, "not given to these kernels"
            if int8:
                weight, scale = rounded(weight)
            units = functional.pad(weight, (0, 0, 0, spare)).view(-1, LANES, into // step, step)
            units = units.transpose(1, 2)
        self.weight = in_large_pages(units)
        self.bias, self.scale = (
            None if values is None else functional.pad(values.float(), (0, spare))
            for values in (bias, scale)
        )
        self.linear = Linear(
            self.weight.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            None if self.scale is None else self.scale.data_ptr(),
            into,
            out,
            scales is not None,
        )


def _four_bit_units(blocks: Tensor, scales: Tensor, spare: int) -> Tensor:
    """As engine/native/four_bits.h has them: uint8 `[units, blocks, 16 + 256]`."""
    count = scales.shape[1]
    columns = functional.pad(blocks, (0, 0, 0, 0, 0, spare)).view(-1, LANES, count, LANES)
    pairs = columns.permute(0, 2, 3, 1).flatten(2)
    exponents = functional.pad(scales, (0, 0, 0, spare)).view(-1, LANES, count).transpose(1, 2)
    return torch.cat((exponents, pairs), dim=2)


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 `[out, into]` and float32 `[out]` whose product is near the weight.

    Each column of a result has a scale of its own: its largest weight becomes 127.
    """
    exact = weight.float()
    scale = exact.abs().amax(1).clamp_(min=torch.finfo(torch.float32).tiny) / 127
    return (exact / scale.unsqueeze(1)).round_().to(torch.int8), scale


def in_large_pages(values: Tensor) -> Tensor:
    """A contiguous copy, in pages of 2 MiB where it fills several of them.

    A product of one row reads weights as fast as the memory gives them; looking up small pages
    then takes a tenth of its time.
    """
    if values.nbytes < 4 * _LARGE_PAGE:
        return values.contiguous()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    room = mmap.mmap(-1, values.nbytes + _LARGE_PAGE, flags=flags)
    room.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(room, dtype=torch.uint8)
    first = -whole.data_ptr() % _LARGE_PAGE
    copy = whole[first : first + values.nbytes].view(values.dtype).view(values.shape)
    return copy.copy_(values)


def in_turn(parts: Sequence[Tensor]) -> Tensor:
    """Units of weights (or biases) of the same shape `[out, ...]` in turn, `[parts * out, ...]`.

    `out` is a multiple of 16.
    """
    shape = (-1, LANES, *parts[0].shape[1:])
    return torch.stack([part.view(shape) for part in parts], 1).flatten(0, 2)
