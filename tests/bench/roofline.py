"""What the machine can do, and which share of it the engine reaches. Prints one JSON line.

Decoding one sequence reads every weight once a token: its bound is the bandwidth of reading.
Prefill multiplies: its bound is the rate of a large product, torch's or our own, whichever is
higher. The greater the shares, the less is left to gain.

    python -m tests.bench.roofline [--models 135m 0.5b] [--dtype bfloat16] [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.models.spec import load_spec
from engine.native.build import built_library
from engine.native.kernels import Kernels
from engine.native.packing import PackedWeights
from tests.bench.common import THREADS, machine, median
from tests.bench.engine import PROMPT_TOKENS, Diglot, Sizes
from tests.bench.shapes import model_directory

SIDE = {"cpu": 2048, "cuda": 8192}
STREAM_BYTES = {"cpu": 2**29, "cuda": 2**32}
ROUNDS = 7
PREFILL_BATCH = 8


def seconds(run: Callable[[], Any], device: str) -> float:
    """The quickest of some runs: what the machine can do when it is left alone."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def bandwidths(device: str) -> dict[str, float]:
    """GB/s of reading and of copying (bytes read plus bytes written)."""
    size = STREAM_BYTES[device]
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / seconds(lambda: target.copy_(source), device) / 1e9
    runs = [source.sum, *row_products(source.view(-1, 4096), device)]
    return {"read": size / min(seconds(run, device) for run in runs) / 1e9, "copy": copy}


def row_products(weight: torch.Tensor, device: str) -> list[Callable[[], Any]]:
    """Our product of one row, which reads more evenly than torch's sum."""
    row = torch.ones(1, weight.shape[1], device=device)
    if device == "cuda":
        from engine.models.triton_thin import thin_product

        return [lambda: thin_product(row, weight, None)]
    library = built_library()
    if library is None:
        return []
    kernels, packed = Kernels(library), PackedWeights(weight, None)
    return [lambda: kernels.linear(packed.linear, row)]


def matmul_rates(dtype: torch.dtype, device: str) -> dict[str, float]:
    """GFLOP/s of a square product."""
    side = SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    operations = 2 * side**3 / 1e9
    rates = {"torch": operations / seconds(lambda: a @ b, device)}
    library = built_library() if device == "cpu" else None
    if library is not None:
        kernels, packed = Kernels(library), PackedWeights(b, None)
        rates["diglot"] = operations / seconds(lambda: kernels.linear(packed.linear, a), device)
    return rates


def shares(
    directory: Path, dtype: str, device: Any, read: float, matmul: float
) -> dict[str, dict[str, float]]:
    """GB/s of weights while one sequence decodes and GFLOP/s of prefill, with their shares."""
    spec = load_spec(directory)
    engine = Diglot(directory, dtype, device)
    weights = spec.layer_weights
    bytes_read = (weights + spec.vocab_size * spec.hidden_size) * getattr(torch, dtype).itemsize
    scores = 2 * spec.num_layers * spec.num_heads * spec.head_dim * PROMPT_TOKENS
    rounds = [
        (
            engine.run(Sizes(1, spec.vocab_size))["decode"] * bytes_read / 1e9,
            engine.run(Sizes(PREFILL_BATCH, spec.vocab_size, 2))["prefill"]
            * (2 * weights + scores)
            / 1e9,
        )
        for _ in range(ROUNDS)
    ]
    decode, prefill = (median(list(values)) for values in zip(*rounds[1:], strict=True))
    return {
        "decode, batch 1": {"GB/s": decode, "share": round(decode / read, 2)},
        "prefill": {"GFLOP/s": prefill, "share": round(prefill / matmul, 2)},
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["135m", "0.5b"])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    stream = bandwidths(options.device)
    rates = {
        name: matmul_rates(getattr(torch, name), options.device) for name in ("float32", "bfloat16")
    }
    best = max(rates[options.dtype].values())
    line = {"bench": "roofline", "dtype": options.dtype, "device": options.device, **machine()}
    line |= {"GB/s": {name: round(value, 1) for name, value in stream.items()}}
    line |= {
        "matmul GFLOP/s": {
            dtype: {name: round(value) for name, value in kinds.items()}
            for dtype, kinds in rates.items()
        }
    }
    line |= {
        name: shares(model_directory(name), options.dtype, options.device, stream["read"], best)
        for name in options.models
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
