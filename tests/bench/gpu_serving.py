"""HTTP streaming from a GPU: one server, several concurrencies, then the same without HTTP.

Greedy, bfloat16, random weights of a shape; prompts and answers of one length each. A server takes
seconds to start on a GPU, so one serves all levels, each after a warm-up. Prints one JSON line:
tokens per second, times to the first and between tokens, and the share of what the engine gives
by itself.

    python -m tests.bench.gpu_serving [--shape qwen3-0.6b] [--concurrency 1 32 256]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from engine.config import EngineConfig
from engine.text.tokenizer import load_tokenizer
from tests.bench import serving_requests as make
from tests.bench.alone import EngineAlone
from tests.bench.common import machine
from tests.bench.load import closed_loop, figures, run
from tests.bench.serving import HOST, Server, running
from tests.bench.shapes import SHAPES, model_directory

PORT = 8193
NEW_TOKENS = 256
SAMPLES = 2  # of each open connection
WARM_UPS = 3  # likewise: a graph of a step with prompts is made when its size comes back


def served(model: Path, levels: list[int], device: str) -> dict[int, dict[str, float]]:
    """Figures by concurrency."""
    command = [
        *(sys.executable, "-m", "server", "serve", "--port", str(PORT), "--model", str(model)),
        *("--device", device, "--dtype", "bfloat16", "--log-level", "warning"),
        "--no-prefix-cache",
    ]
    results: dict[int, dict[str, float]] = {}
    with running(Server(command, PORT, ours=True)):
        for level in levels:
            calls = make.calls(model, make.texts(level), NEW_TOKENS, HOST, ours=True)
            run(closed_loop(HOST, PORT, calls * WARM_UPS, level))
            wall, timelines = run(closed_loop(HOST, PORT, calls * SAMPLES, level))
            results[level] = figures(wall, timelines, NEW_TOKENS)
    return results


def alone(model: Path, levels: list[int], device: str) -> dict[int, float]:
    """Tokens per second of the engine in this process, by concurrency."""
    config = EngineConfig(
        model=str(model),
        device=device,  # pyright: ignore[reportArgumentType]
        dtype="bfloat16",
        prefix_cache=False,
    )
    engine = EngineAlone(config, NEW_TOKENS)
    tokenizer = load_tokenizer(model)
    rates: dict[int, float] = {}
    for level in levels:
        prompts = [tokenizer.encode(text) for text in make.texts(level)]
        engine.run(prompts, level)
        rates[level] = engine.run(prompts * SAMPLES, level)["throughput"]
    return rates


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    model, levels = model_directory(options.shape), options.concurrency
    rates = served(model, levels, options.device)
    without = alone(model, levels, options.device)
    results: dict[str, Any] = {
        str(level): {name: round(value, 2) for name, value in rates[level].items()}
        | {
            "engine alone": round(without[level], 1),
            "share": round(rates[level]["throughput"] / without[level], 3),
        }
        for level in levels
    }
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    setting = {"device": device, "shape": options.shape, "new": NEW_TOKENS, **machine()}
    print(json.dumps({"bench": "gpu_serving", **setting, "concurrency": results}))


if __name__ == "__main__":
    main()
