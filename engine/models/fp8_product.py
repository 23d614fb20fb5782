"""Products by weights of eight bits, for GPUs: half the bytes to read, twice the rate to multiply.

Weights are `float8_e4m3fn` with a scale for each output, found when they are loaded. One row, as
one sequence decodes it, is multiplied as it is; more rows are rounded to eight bits themselves, a
scale for each row, and go to a library that multiplies such numbers. Knows nothing of layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import ModelLoadError
from engine.models.activation import Activation
from engine.models.layer_weights import Projection
from engine.models.triton_layers import gated
from engine.models.triton_quantize import LARGEST, quantize_rows
from engine.models.triton_thin import Norm, thin_gated, thin_product

_MULTIPLE = 16
"""What the library's sizes must be multiples of."""


class Fp8Product:
    """See `engine.models.triton_products.Product`; x is bfloat16."""

    def __init__(self, projection: Projection) -> None:
        """Round a projection's weight `[out, in]`; it is not needed afterwards.

        Raises:
            ModelLoadError: a size of it does not suit the library.
        """
        weight = projection.weight
        if any(size % _MULTIPLE for size in weight.shape):
            raise ModelLoadError(
                f"--quantization fp8: a weight of {tuple(weight.shape)} numbers is not offered; "
                f"both sizes must be multiples of {_MULTIPLE}."
            )
        self._weight, self._scale = quantized(weight)
        self._bias = projection.bias

    def __call__(
        self, x: Tensor, norm: Norm | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """See `Product`."""
        if len(x) == 1:
            return thin_product(
                x, self._weight, self._bias, scale=self._scale, norm=norm, residual=residual
            )
        codes, scales = quantize_rows(x, norm)
        y = torch.ops.aten._scaled_mm(
            codes,
            self._weight.t(),
            scale_a=scales,
            scale_b=self._scale.view(1, -1),
            bias=self._bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        return y if residual is None else residual.add_(y)

    def gated(self, x: Tensor, norm: Norm | None, activation: Activation) -> Tensor:
        """See `Product`."""
        if len(x) == 1:
            return thin_gated(x, self._weight, self._bias, norm, activation, scale=self._scale)
        return gated(self(x, norm), activation)


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest float8 numbers `[out, in]` and a float32 scale for each output `[out]`: the
    largest weight of an output becomes the largest of such numbers."""
    scale = weight.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    codes = (weight / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return codes, scale.squeeze(1)


def in_eight_bits(projection: Projection) -> Projection:
    """The same, rounded; what has four bits keeps them."""
    weight, bias, scales = projection
    if scales is not None:
        return projection
    codes, scale = quantized(weight)
    return Projection(codes, bias, scale)
