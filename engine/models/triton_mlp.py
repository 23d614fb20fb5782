"""What stands in a decoder layer after attention, for GPUs: one MLP, or a mixture of experts.

Each takes rows before their norm and gives rows before any norm after. Knows nothing of layers.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from engine.models.activation import Activation
from engine.models.families.traits import Routing
from engine.models.fp8_product import in_eight_bits
from engine.models.layer_weights import ExpertWeights, GatedWeights, Projection, together
from engine.models.triton_experts import choose_tile, combine, multiply
from engine.models.triton_layers import gated, rms_norm
from engine.models.triton_products import make_product
from engine.models.triton_routing import route_rows, sort_by_expert
from engine.models.triton_thin import Norm


class GatedMlp:
    """`down(activation(gate y) * up y)` of the normed rows `y`, gate and up in one product."""

    def __init__(
        self,
        weights: GatedWeights,
        norm: Norm,
        activation: Activation,
        *,
        batch_invariant: bool,
        fp8: bool,
    ) -> None:
        """See `make_product`."""
        both = together((weights.gate, weights.up))
        self._gate_up = make_product(both, batch_invariant=batch_invariant, fp8=fp8)
        self._down = make_product(weights.down, batch_invariant=batch_invariant, fp8=fp8)
        self._norm = norm
        self._activation: Activation = activation

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """`[tokens, hidden]` to the same, plus `residual`, which may be overwritten."""
        return self._down(self._gate_up.gated(x, self._norm, self._activation), residual=residual)


class ExpertMlp:
    """A few of many MLPs for each row; see `engine.models.moe.ExpertMlp`."""

    def __init__(
        self,
        weights: ExpertWeights,
        norm: Norm,
        routing: Routing,
        activation: Activation,
        *,
        batch_invariant: bool,
        fp8: bool,
    ) -> None:
        """Put the experts' matrices side by side; with `fp8` rounded, unless they have four bits.
        The router keeps what it has: it is small, and decides."""

        def beside(ones: list[Projection]) -> Projection:
            return together([in_eight_bits(one) if fp8 else one for one in ones], torch.stack)

        self._router = make_product(weights.router, batch_invariant=batch_invariant, fp8=False)
        self._gate_up = beside([together((one.gate, one.up)) for one in weights.experts])
        self._down = beside([one.down for one in weights.experts])
        self._norm = norm
        self._routing = routing
        self._activation: Activation = activation
        self._choose_tile = partial(
            choose_tile,
            experts=routing.experts,
            weights=self._down.weight.dtype,
            batch_invariant=batch_invariant,
        )

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `GatedMlp`."""
        y = rms_norm(x, self._norm.gain, self._norm.eps)
        weights, chosen = route_rows(self._router(y), self._routing)
        tile = self._choose_tile(chosen.numel())
        by_expert = sort_by_expert(chosen, self._routing.experts, tile.rows)
        both = multiply(y, self._gate_up, by_expert, tile, self._routing.per_token)
        inner = gated(both, self._activation)
        return combine(multiply(inner, self._down, by_expert, tile, 1), weights, residual)
