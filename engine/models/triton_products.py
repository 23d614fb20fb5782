"""The products of a decoder layer on a GPU, with the norm before them and the sum or gate after.

Which kernels a product takes is decided here, by the number of rows: one row, as one sequence
decodes it, is a kernel with everything in it; more are a product of a library, or of the invariant
kernel where a row's bits must not tell which rows are beside it. Knows nothing of layers.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional

from engine.models.activation import Activation
from engine.models.fp8_product import Fp8Product
from engine.models.layer_weights import Projection
from engine.models.triton_layers import gated, rms_norm
from engine.models.triton_linear import linear
from engine.models.triton_thin import Norm, thin_gated, thin_product


class Product(Protocol):
    """`norm(x) W^T + b`. x: `[rows, in]`, contiguous."""

    def __call__(
        self, x: Tensor, norm: Norm | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """Plus `residual` `[rows, out]`, which may be overwritten. Returns `[rows, out]`."""
        ...

    def gated(self, x: Tensor, norm: Norm | None, activation: Activation) -> Tensor:
        """`activation(gate) * up`, the first half of the outputs being gates: `[rows, out / 2]`."""
        ...


def make_product(projection: Projection, *, batch_invariant: bool, fp8: bool) -> Product:
    """In the projection's dtype; `fp8`: by weights rounded to eight bits.

    Raises:
        ModelLoadError: its sizes do not suit eight bits.
    """
    if batch_invariant:
        assert not fp8, "the two are not offered together"
        return InvariantProduct(projection)
    return Fp8Product(projection) if fp8 else LibraryProduct(projection)


class LibraryProduct:
    """The fastest for the number of rows; how a row is rounded depends on that."""

    def __init__(self, projection: Projection) -> None:
        self._weight = projection.weight.contiguous()
        self._bias = projection.bias

    def __call__(
        self, x: Tensor, norm: Norm | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """See `Product`."""
        if len(x) == 1:
            return thin_product(x, self._weight, self._bias, norm=norm, residual=residual)
        x = _normed(x, norm)
        if residual is not None and self._bias is None:
            return residual.addmm_(x, self._weight.t())  # in place: else torch copies it first
        y = functional.linear(x, self._weight, self._bias)
        return y if residual is None else y.add_(residual)

    def gated(self, x: Tensor, norm: Norm | None, activation: Activation) -> Tensor:
        """See `Product`."""
        if len(x) == 1:
            return thin_gated(x, self._weight, self._bias, norm, activation)
        return gated(self(x, norm), activation)


class InvariantProduct:
    """One kernel for every number of rows: see `engine.models.triton_linear`."""

    def __init__(self, projection: Projection) -> None:
        self._weight = projection.weight.contiguous()
        self._bias = projection.bias

    def __call__(
        self, x: Tensor, norm: Norm | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """See `Product`."""
        return linear(_normed(x, norm), self._weight, self._bias, residual)

    def gated(self, x: Tensor, norm: Norm | None, activation: Activation) -> Tensor:
        """See `Product`."""
        return gated(self(x, norm), activation)


def _normed(x: Tensor, norm: Norm | None) -> Tensor:
    return x if norm is None else rms_norm(x, norm.gain, norm.eps)
