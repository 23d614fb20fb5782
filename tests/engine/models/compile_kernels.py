"""A program that compiles a decoder's small kernels, and those that make its inputs; it
prints a line for each, in JSON."""

from __future__ import annotations

from functools import partial
from typing import get_args

import torch

from engine.execution.triton_inputs import build_inputs, record_draws, update_blocks
from engine.models.activation import Activation
from engine.models.families.traits import Routing
from engine.models.fp8_product import in_eight_bits
from engine.models.layer_weights import Projection, together
from engine.models.mxfp4 import BLOCK
from engine.models.triton_experts import choose_tile, combine, multiply
from engine.models.triton_layers import gated, rms_norm, soft_cap_
from engine.models.triton_linear import linear
from engine.models.triton_quantize import quantize_rows
from engine.models.triton_routing import route_rows, sort_by_expert
from engine.models.triton_thin import Norm, thin_gated, thin_product
from tests.triton_compiler import compiling, report


def launch_layers(dtype: torch.dtype, hidden: int, wide: int) -> None:
    """A norm, a gate, and products with all that can be added, narrow and wide."""
    x, weight = torch.zeros(5, hidden, dtype=dtype), torch.zeros(wide, hidden, dtype=dtype)
    rms_norm(x, weight[0], 1e-6)
    both = linear(x, weight, None)
    linear(x, weight, weight[:, 0].contiguous(), both)
    soft_cap_(both, 30.0)
    rms_norm(x, weight[0].float(), 1e-6, residual=x)
    norm = Norm(weight[0], 1e-6)
    thin = thin_product(x[:1], weight, weight[:, 0].contiguous(), norm=norm)
    thin_product(x[:1], weight, None, residual=thin)
    for activation in get_args(Activation):
        gated(both, activation)
        thin_gated(x[:1], weight, None, norm, activation)
    thin_product(x[:1], weight, None, norm=Norm(weight[0].float(), 1e-6))
    codes, scales = quantize_rows(x, norm)
    quantize_rows(both, None)
    if dtype == torch.bfloat16:
        eight_bit, of_each = weight.to(codes.dtype), scales.new_zeros(wide)
        thin_product(x[:1], eight_bit, None, scale=of_each, norm=norm)
        thin_gated(x[:1], eight_bit, None, norm, "silu", scale=of_each)


def launch_experts(dtype: torch.dtype, batch_invariant: bool) -> None:
    """The products of few and many rows."""
    for tokens in (1, 512):
        x, weight = torch.zeros(tokens, 64, dtype=dtype), torch.zeros(4, 128, 64, dtype=dtype)
        _, chosen = route_rows(x[:, :4].contiguous(), Routing(4, 2, True))
        tile = partial(choose_tile, 2 * tokens, 4, batch_invariant=batch_invariant)
        by_expert, plain = sort_by_expert(chosen, 4, tile(dtype).rows), tile(dtype)
        multiply(x, Projection(weight, None), by_expert, plain, 2)
        parts = multiply(x, Projection(weight, weight[..., 0].contiguous()), by_expert, plain, 2)
        if dtype == torch.bfloat16:
            codes = torch.zeros(4, 128, 2, BLOCK // 2, dtype=torch.uint8)
            four_bits = Projection(codes, None, codes[..., 0].contiguous())
            multiply(x, four_bits, by_expert, tile(codes.dtype), 2)
            one = in_eight_bits(Projection(weight[0], None))
            eight_bits = together([one] * 4, torch.stack)
            multiply(x, eight_bits, by_expert, tile(eight_bits.weight.dtype), 2)
        combine(parts, torch.zeros(tokens, 2), None)
        combine(parts, torch.zeros(tokens, 2), parts[:tokens].contiguous())


def launch_inputs() -> None:
    """What a step does before and after the decoder."""
    rows, table = torch.zeros(3, dtype=torch.int32), torch.zeros(8, 20, dtype=torch.int32)
    update_blocks(torch.zeros(4, 3, dtype=torch.int32), table)
    starts, ends, drawn = rows, torch.zeros(4, dtype=torch.int32), torch.zeros(8, dtype=torch.int32)
    build_inputs(rows, starts, ends, rows, drawn, table, block_size=16, longest_query=1)
    record_draws(rows, torch.zeros(3, dtype=torch.int64), drawn)


if __name__ == "__main__":
    with compiling() as kernels:
        launch_layers(torch.bfloat16, 4096, 28672)
        launch_layers(torch.bfloat16, 576, 3072)
        launch_layers(torch.float32, 1024, 2048)
        launch_experts(torch.bfloat16, batch_invariant=False)
        launch_experts(torch.float32, batch_invariant=True)
        launch_inputs()
    report(kernels)
