"""The tensors of one decoder layer, named, before they are laid out for whatever multiplies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Projection(NamedTuple):
    """weight: `[out, in]`; bias: `[out]` or None.

    With scales, uint8 `[out, in / 32]`, weights have four bits, uint8 `[out, in / 32, 16]`: see
    `engine.models.mxfp4`; with float32 `[out]`, eight: see `engine.models.fp8_product.quantized`.
    Only who asks for it is given such.
    """

    weight: Tensor
    bias: Tensor | None
    scales: Tensor | None = None


def together(
    parts: Sequence[Projection], join: Callable[[list[Tensor]], Tensor] = torch.cat
) -> Projection:
    """One projection of several, all with a bias or none, all with scales or none."""

    def joined(tensors: Iterable[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return join(present) if present else None

    return Projection(
        join([part.weight for part in parts]),
        joined(part.bias for part in parts),
        joined(part.scales for part in parts),
    )


@dataclass(frozen=True, slots=True)
class GatedWeights:
    """Of an MLP, or of an expert."""

    gate: Projection
    up: Projection
    down: Projection


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """Of a mixture of experts. `router` is `[experts, hidden]`."""

    router: Projection
    experts: list[GatedWeights]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """`qkv` is queries, keys and values in one product: one pass over the input.

    Gains of norms are float32 `[hidden]`; `qk_norm` is `[heads + kv_heads, head_dim]`, the gain of
    every query head, then of every key head. They are None where nothing is normalized: heads, or
    what attention and MLP give before it is added. `sinks` are float32 `[heads]`, see
    `engine.attention.backend.StepAttention.attend`.
    """

    attention_norm: Tensor
    qkv: Projection
    qk_norm: Tensor | None
    sinks: Tensor | None
    output: Projection
    attention_post_norm: Tensor | None
    mlp_norm: Tensor
    mlp: GatedWeights | ExpertWeights
    mlp_post_norm: Tensor | None
