"""Where the time of a decode step goes on a GPU: kernels, gaps, and what the host calls meanwhile.

Steps are of sequences that all decode, in steady state. Kernels that overlap, as those of one row
do, count each for itself, so that their sum may exceed the step. Prints a table and one JSON line.

    python -m tests.bench.trace [--shape qwen3-0.6b] [--batches 1 256] [--context 700] [--controls]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from engine.core import EngineCore
from engine.ipc import Submit
from engine.models.spec import load_spec
from engine.sampling_params import SamplingParams
from tests.bench.common import machine
from tests.bench.offline import Engine
from tests.bench.offline_cases import EVERYTHING, GREEDY, with_answer
from tests.bench.shapes import SHAPES

STEPS = 10
SETTLING = 20
SHOWN = 20
WAITING = ("cudaStreamSynchronize", "cudaMemcpy", "cudaMemset", "cuStreamSynchronize", "cudaMalloc")
"""Calls that wait for the device. What waits for one event is none of them: that is how a step's
results are read when the next one runs."""


def decoding(engine: Engine, batch: int, context: int, params: SamplingParams) -> list[str]:
    """Submit sequences and step until all of them decode; their ids."""
    draw, vocab_size = random.Random(0), load_spec(engine.directory).vocab_size
    names = [f"{batch}-{context}-{number}" for number in range(batch)]
    for number, name in enumerate(names):
        prompt = tuple(draw.randrange(1, vocab_size) for _ in range(context))
        answer = SETTLING + 4 * STEPS + 2 * context
        engine.core.submit(Submit(name, prompt, with_answer(params, answer, number)))
    while engine.core.stats.running < batch or engine.core.stats.waiting:
        engine.core.step()
    for _ in range(SETTLING):
        engine.core.step()
    return names


def microseconds(core: EngineCore) -> float:
    """Of one step, without a profiler."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(STEPS):
        core.step()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / STEPS * 1e6


def traced(core: EngineCore) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Microseconds of each kernel's runs, by name, and calls of each kind, a step."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        for _ in range(STEPS):
            core.step()
    kernels: dict[str, list[float]] = defaultdict(list)
    calls: Counter[str] = Counter()
    events: Any = trace.events()
    for event in events:
        if event.device_type.name == "CUDA":
            kernels[event.name].append(event.device_time)
        elif event.name.startswith("cu"):
            calls[event.name] += 1
    return kernels, {name: count / STEPS for name, count in calls.most_common()}


def measure(engine: Engine, batch: int, context: int, params: SamplingParams) -> dict[str, Any]:
    """One JSON line's worth; prints the table."""
    names = decoding(engine, batch, context, params)
    step = microseconds(engine.core)
    kernels, calls = traced(engine.core)
    engine.core.abort(names)
    while engine.core.has_work:
        engine.core.step()
    total = sum(map(sum, kernels.values())) / STEPS
    print(f"batch {batch}, context {context}: {step:.0f} us a step, {total:.0f} us of kernels")
    costs = sorted(kernels.items(), key=lambda item: -sum(item[1]))
    for name, runs in costs[:SHOWN]:
        each = f"{len(runs) / STEPS:6.1f} x {sum(runs) / len(runs):8.2f}"
        print(f"  {sum(runs) / STEPS:9.1f} us {each}  {name[:72]}")
    return {
        "us/step": round(step, 1),
        "us of kernels": round(total, 1),
        "kernels": {name[:40]: round(sum(runs) / STEPS, 1) for name, runs in costs[:SHOWN]},
        "waiting calls": {name: count for name, count in calls.items() if name.startswith(WAITING)},
        "calls": calls,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--context", type=int, default=700)
    parser.add_argument("--controls", action="store_true", help="all of them on every row")
    parser.add_argument("--batch-invariant", action="store_true")
    parser.add_argument("--kv-cache-dtype", choices=["auto", "fp8"], default="auto")
    parser.add_argument("--quantization", choices=["fp8"])
    options = parser.parse_args()
    options.device, options.dtype, options.no_cuda_graphs = "cuda", "bfloat16", False
    engine = Engine(options.shape, options)
    params = EVERYTHING if options.controls else GREEDY
    seen = {
        str(batch): measure(engine, batch, options.context, params) for batch in options.batches
    }
    setting = {"device": torch.cuda.get_device_name(), **vars(options), **machine()}
    print(json.dumps({"bench": "trace", **setting, "batches": seen}))


if __name__ == "__main__":
    main()
