"""The engine on a GPU by the cases that its aims are stated in, offline, on random weights.

Each case prints one JSON line when it is done, or why it failed; the last line has all of them.
Rates count output tokens from the first request's submission to the last token. `ms/token` is of
decoding alone. `bound` is the time that the card would take if it read at the bandwidth and
computed at the rate that are measured first, and `share` what of it is reached.
With `--peer`, `transformers` runs the same requests by its continuous batching, in the same run,
and a single request by its `generate`, too.

    python -m tests.bench.offline [--cases ...] [--dtype bfloat16] [--peer] [--device cuda]
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from dataclasses import dataclass
from typing import Any

import torch

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import build_parts
from engine.ipc import Submit
from engine.models.spec import load_spec
from engine.sampling_params import SamplingParams
from tests.bench.common import machine, median, peer_note
from tests.bench.continuous_batching import TransformersPeer
from tests.bench.offline_cases import CASES, Case, with_answer, work_of
from tests.bench.roofline import bandwidths, matmul_rates
from tests.bench.shapes import model_directory

ROUNDS = 3
WARM_PROMPT = 16


class Engine:
    """One model; requests in, seconds out."""

    def __init__(self, shape: str, options: argparse.Namespace) -> None:
        self.directory = model_directory(shape)
        config = EngineConfig(
            model=str(self.directory),
            device=options.device,
            dtype=options.dtype,
            kv_cache_dtype=options.kv_cache_dtype,
            quantization=options.quantization,
            batch_invariant=options.batch_invariant or None,
            cuda_graphs=not options.no_cuda_graphs,
            prefix_cache=False,
            max_num_batched_tokens=8192,
        )
        self.core = EngineCore(*build_parts(config, lambda phase: None))
        self._runs = 0

    def seconds(self, requests: list[Submit]) -> float:
        """Wall time of all of them together."""
        self._runs += 1
        began = time.perf_counter()
        for one in requests:
            name = f"{self._runs}-{one.request_id}"
            self.core.submit(Submit(name, one.prompt_token_ids, one.params))
        while self.core.has_work:
            self.core.step()
        return time.perf_counter() - began

    def warm_up(self, num_requests: int, params: SamplingParams) -> None:
        """Every number of rows once: their kernels are compiled and their graphs captured."""
        prompt = tuple(range(1, WARM_PROMPT + 1))
        self.seconds(
            [Submit(str(n), prompt, with_answer(params, 2 + n, n)) for n in range(num_requests)]
        )


@dataclass(frozen=True)
class Card:
    """What the device can do: bytes read and operations, a second."""

    read: float
    matmul: float

    @classmethod
    def measured(cls, dtype: str, device: str) -> Card:
        """By the functions of `roofline`."""
        rates = matmul_rates(getattr(torch, dtype), device)
        return cls(bandwidths(device)["read"] * 1e9, max(rates.values()) * 1e9)


def figures(
    case: Case, engine: Engine, card: Card, options: argparse.Namespace
) -> dict[str, float]:
    """Medians of the rounds."""
    requests = case.submits()
    engine.warm_up(case.requests, case.params)
    for _ in range(2 if case.requests == 1 else 0):
        engine.seconds(requests)  # its prompt's kernels are compiled, then captured
    seconds = median([engine.seconds(requests) for _ in range(options.rounds)], 5)
    output = sum(one.params.max_new_tokens or 0 for one in requests)
    spec = load_spec(engine.directory)
    work = work_of(
        spec,
        requests,
        weight_size=1 if options.quantization else 2,
        kv_size=1 if options.kv_cache_dtype == "fp8" else 2,
    )
    line = {"seconds": round(seconds, 4), "output tok/s": round(output / seconds, 1)}
    if case.requests == 1 and output > 1:
        first = [Submit(one.request_id, one.prompt_token_ids, with_answer(one.params, 1))
                 for one in requests]  # fmt: skip
        prefill = median([engine.seconds(first) for _ in range(options.rounds)], 5)
        seconds -= prefill
        line["ms/token"] = round(seconds / (output - 1) * 1e3, 3)
        bound = (work.weight_bytes + work.kv_bytes) / card.read
    else:
        bound = work.bound(card.read, card.matmul)
    return line | {"bound, s": round(bound, 3), "share": round(bound / seconds, 2)}


def measure(name: str, engine: Engine, card: Card, options: argparse.Namespace) -> dict[str, Any]:
    """One case."""
    case = CASES[name]
    try:
        return {"case": name, "diglot": figures(case, engine, card, options)}
    except (RuntimeError, ValueError) as error:  # a failure must not cost the other cases
        return {"case": name, "failed": f"{type(error).__name__}: {error}"[:300]}


def add_peer(lines: list[dict[str, Any]], shape: str, limit: float) -> None:
    """Let `transformers` run the greedy cases of one shape, and print their lines again."""
    peer: TransformersPeer | None = None
    for line in lines:
        case = CASES[line["case"]]
        if case.shape != shape or not case.params.greedy or "diglot" not in line:
            continue
        try:
            peer = peer or TransformersPeer(model_directory(shape))
            line["transformers"] = peer.rate(case.submits(), limit)
        except (RuntimeError, ValueError) as error:
            line["transformers"] = {"failed": f"{type(error).__name__}: {error}"[:300]}
            continue
        theirs = line["transformers"]["output tok/s"]
        ours = line["diglot"]["output tok/s"]
        line["ratio"] = round(ours / theirs, 2) if theirs else None
        if case.requests == 1:
            line["generate, output tok/s"] = peer.generate_rate(case.submits()[0])
            line["ratio to generate"] = round(ours / line["generate, output tok/s"], 2)
        print(json.dumps(line), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES][:-1])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--kv-cache-dtype", choices=["auto", "fp8"], default="auto")
    parser.add_argument("--quantization", choices=["fp8", "int8"])
    parser.add_argument("--batch-invariant", action="store_true")
    parser.add_argument("--no-cuda-graphs", action="store_true")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--peer-limit", type=float, default=60, help="seconds of a case")
    return parser.parse_args()


def _ran(options: argparse.Namespace, card: Card) -> list[dict[str, Any]]:
    """The lines of all cases; a shape's peer runs when our engine of it is gone."""
    lines: list[dict[str, Any]] = []
    for shape in dict.fromkeys(CASES[name].shape for name in options.cases):
        engine = Engine(shape, options)
        for name in options.cases:
            if CASES[name].shape == shape:
                lines.append(measure(name, engine, card, options))
                print(json.dumps(lines[-1]), flush=True)
        del engine
        gc.collect()
        torch.cuda.empty_cache()
        if options.peer:
            add_peer(lines, shape, options.peer_limit)
    return lines


def _share_of_greedy(lines: list[dict[str, Any]]) -> dict[str, float]:
    rates = {line["case"]: line["diglot"]["output tok/s"] for line in lines if "diglot" in line}
    ending = ", all controls"
    return {
        name: round(rates[name] / rates[name.removesuffix(ending)], 3)
        for name in rates
        if name.endswith(ending) and name.removesuffix(ending) in rates
    }


def main() -> None:
    """Command line."""
    options = _options()
    note = peer_note(options.peer, "transformers", "accelerate")
    options.peer = note is None
    card = Card.measured(options.dtype, options.device)
    setting = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "dtype": options.dtype,
        "kv": options.kv_cache_dtype,
        "quantization": options.quantization,
        "batch invariant": options.batch_invariant,
        "graphs": not options.no_cuda_graphs,
        "peer": note or "took part",
        "read GB/s": round(card.read / 1e9),
        "matmul TFLOP/s": round(card.matmul / 1e12),
    }
    lines = _ran(options, card)
    line = {"bench": "offline", **setting, **machine(), "share of greedy": _share_of_greedy(lines)}
    print(json.dumps(line | {"all": lines}))


if __name__ == "__main__":
    main()
