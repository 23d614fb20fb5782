"""A mixture of experts in plain torch: each token goes through a few of many MLPs.

A router scores the experts of a token; what those with the largest scores give is summed, weighted
by a softmax of the scores (arXiv 1701.06538, as Mixtral and Qwen3 have it: arXiv 2401.04088). A
token's result does not depend on the tokens beside it: its sum is in the order of the experts, and
the products of `engine.models.linear` keep rows alike.

Knows nothing of norms before or after, nor of checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.models.families.traits import Routing
from engine.models.linear import Linear
from engine.models.mlp import GatedMlp


def route(scores: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """The experts of each token, and what of each is taken.

    Args:
        scores: `[tokens, experts]`, of the router.

    Returns:
        weights, float32, and experts, int64: `[tokens, per_token]`, the largest weight first.
    """
    weights, experts = scores.softmax(-1, dtype=torch.float32).topk(routing.per_token, -1)
    if routing.normalized:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, experts


class ExpertMlp:
    """The MLP of a layer with experts."""

    def __init__(self, router: Linear, experts: Sequence[GatedMlp], routing: Routing) -> None:
        self._router = router
        self._experts = experts
        self._routing = routing

    def __call__(self, y: Tensor) -> Tensor:
        """`[tokens, hidden]` to the same."""
        return self.plus(y, torch.zeros_like(y))

    def plus(self, y: Tensor, other: Tensor) -> Tensor:
        """What experts make of `y`, added to `other`."""
        weights, chosen = route(self._router(y), self._routing)
        total = other.clone()
        for expert in chosen.unique().tolist():
            tokens, places = (chosen == expert).nonzero(as_tuple=True)
            part = self._experts[expert](y.index_select(0, tokens))
            total.index_add_(0, tokens, part * weights[tokens, places, None].to(part.dtype))
        return total
