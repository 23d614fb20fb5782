"""Optimizers and the learning-rate curve.

Knows Muon (orthogonalized momentum for matrices) and how parameters are divided between it and
AdamW. `torch.optim.Muon` always orthogonalizes in bfloat16, which processors without bfloat16
arithmetic run about fifty times slower; here the type is a choice. Knows no data.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from engine.default_model.training.recipe import Recipe


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly, of (count, rows, columns), by Newton-Schulz.

    The quintic's coefficients are Keller Jordan's; singular values end between 0.7 and 1.2.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalized, scaled to the usual size of an AdamW step."""

    def __init__(
        self, parameters: list[nn.Parameter], lr: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        """`dtype`: of the orthogonalization alone; momentum and weights keep theirs."""
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Updates every matrix once; matrices of one shape are handled together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        directions = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            directions.append(gradient.lerp(state["momentum"], group["momentum"]))
        updates = orthogonalize(torch.stack(directions).to(self.dtype)).to(directions[0].dtype)
        scale = 0.2 * max(parameters[0].shape) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(update, alpha=group["lr"] * scale)


def build_optimizers(
    model: nn.Module, recipe: Recipe, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding table and the norms.

    `dtype` is the type of matrix products.
    """
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay, dtype=dtype),
        torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(progress: float, recipe: Recipe) -> float:
    """Factor on the learning rates at `progress` (0 to 1): up, level, then straight down."""
    if progress < recipe.warm_up:
        return max(progress / recipe.warm_up, 0.02)
    if progress < recipe.decay_from:
        return 1.0
    left = (1.0 - progress) / (1.0 - recipe.decay_from)
    return recipe.final_rate + (1.0 - recipe.final_rate) * max(left, 0.0)


def set_rates(optimizers: list[torch.optim.Optimizer], recipe: Recipe, progress: float) -> float:
    """Applies the curve to all optimizers and returns the factor used."""
    factor = rate_factor(progress, recipe)
    for optimizer, rate in zip(optimizers, (recipe.muon_rate, recipe.adam_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
    return factor
