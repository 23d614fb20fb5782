"""Soft caps: `cap tanh(x / cap)` (Gemma 2, arXiv 2408.00118), of scores and of logits."""

from __future__ import annotations

from torch import Tensor


def soft_cap_(x: Tensor, cap: float | None) -> Tensor:
    """`cap tanh(x / cap)` in place; as it is without a cap."""
    return x if cap is None else x.div_(cap).tanh_().mul_(cap)
