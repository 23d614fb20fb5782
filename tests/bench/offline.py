"""The engine on a GPU by the cases that its aims are stated in, offline, on random weights.

Each case prints one JSON line when it is done; the last line is a table of all. Rates count output
tokens from the first request's submission to the last token, unless a case is about prefill. With
`--peer`, `transformers` runs the same requests by its continuous batching, in the same run.

    python -m tests.bench.offline [--cases ...] [--dtype bfloat16] [--peer] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import build_parts
from engine.ipc import Submit
from engine.sampling_params import SamplingParams
from tests.bench.common import machine, median, peer_note
from tests.bench.shapes import SHAPES, model_directory

ROUNDS = 3
EVERYTHING = SamplingParams(
    temperature=0.8,
    top_p=0.95,
    top_k=50,
    frequency_penalty=0.1,
    presence_penalty=0.1,
    repetition_penalty=1.05,
    logit_bias={11: 0.5},
    seed=7,
    ignore_eos=True,
)
GREEDY = SamplingParams(temperature=0, ignore_eos=True)


@dataclass(frozen=True)
class Case:
    """`lengths` gives the prompt's and the answer's tokens of request n."""

    shape: str
    requests: int
    lengths: Callable[[random.Random], tuple[int, int]]
    params: SamplingParams = GREEDY


def _uniform(draw: random.Random) -> tuple[int, int]:
    return draw.randint(100, 1024), draw.randint(100, 1024)


CASES = {
    "0.6b mixed 256": Case("qwen3-0.6b", 256, _uniform),
    "0.6b mixed 256, all controls": Case("qwen3-0.6b", 256, _uniform, EVERYTHING),
    "0.6b batch 1": Case("qwen3-0.6b", 1, lambda _: (128, 256)),
    "1b batch 1": Case("llama-3.2-1b", 1, lambda _: (32, 128)),
    "8b batch 1": Case("llama-3.1-8b", 1, lambda _: (128, 128)),
    "8b 1000 1000 256": Case("llama-3.1-8b", 256, lambda _: (1000, 1000)),
    "8b prefill 8k": Case("llama-3.1-8b", 1, lambda _: (8192, 1)),
    "tiny": Case("tiny", 8, lambda draw: (draw.randint(10, 60), draw.randint(5, 20))),
}


class Engine:
    """One model; requests in, seconds out."""

    def __init__(self, shape: str, options: argparse.Namespace) -> None:
        self.directory = model_directory(shape)
        config = EngineConfig(
            model=str(self.directory),
            device=options.device,
            dtype=options.dtype,
            kv_cache_dtype=options.kv_cache_dtype,
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


def requests_of(case: Case) -> list[Submit]:
    """The same for everyone, every time."""
    draw = random.Random(0)
    vocab_size = SHAPES[case.shape]["vocab_size"]
    made: list[Submit] = []
    for number in range(case.requests):
        prompt, answer = case.lengths(draw)
        ids = tuple(draw.randrange(1, vocab_size) for _ in range(prompt))
        params = _with_length(case.params, answer, number)
        made.append(Submit(str(number), ids, params))
    return made


def _with_length(params: SamplingParams, answer: int, number: int) -> SamplingParams:
    fields = {name: getattr(params, name) for name in params.__struct_fields__}
    seed = None if params.seed is None else params.seed + number
    return SamplingParams(**{**fields, "max_new_tokens": answer, "seed": seed})


def figures(case: Case, requests: list[Submit], seconds: list[float]) -> dict[str, float]:
    """Medians of the rounds."""
    prompt = sum(len(one.prompt_token_ids) for one in requests)
    output = sum(one.params.max_new_tokens or 0 for one in requests)
    rates = {
        "output tok/s": median([output / one for one in seconds]),
        "all tok/s": median([(prompt + output) / one for one in seconds]),
    }
    if case.requests == 1 and output > 1:
        rates["ms/token"] = median([one / output * 1e3 for one in seconds], 3)
    return rates


def peer_rate(case: Case, requests: list[Submit]) -> float:
    """Output tokens per second of `transformers` with its continuous batching, greedy, on the same
    weights and prompts; its answers are all as long as the longest."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    directory = model_directory(case.shape)
    loaded: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    model = loaded.to("cuda").eval()
    longest = max(one.params.max_new_tokens or 0 for one in requests)
    config = GenerationConfig(do_sample=False, max_new_tokens=longest, eos_token_id=-1)
    inputs = [list(one.prompt_token_ids) for one in requests]
    began = time.perf_counter()
    outputs = model.generate_batch(inputs=inputs, generation_config=config)
    seconds = time.perf_counter() - began
    return sum(len(one.generated_tokens) for one in outputs.values()) / seconds


def measure(name: str, engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """One case, warmed up once."""
    case = CASES[name]
    requests = requests_of(case)
    engine.seconds(requests)
    seconds = [engine.seconds(requests) for _ in range(options.rounds)]
    line: dict[str, Any] = {"case": name, "diglot": figures(case, requests, seconds)}
    if options.peer and case.params is GREEDY:
        theirs = peer_rate(case, requests)
        line["transformers"] = {"output tok/s": round(theirs, 1)}
        line["ratio"] = round(line["diglot"]["output tok/s"] / theirs, 2)
    return line


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES][:-1])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--kv-cache-dtype", choices=["auto", "fp8"], default="auto")
    parser.add_argument("--batch-invariant", action="store_true")
    parser.add_argument("--no-cuda-graphs", action="store_true")
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    note = peer_note(options.peer, "transformers", "accelerate")
    options.peer = note is None
    setting = {"dtype": options.dtype, "kv": options.kv_cache_dtype, "peer": note or "took part"}
    setting["batch invariant"] = options.batch_invariant
    setting["graphs"] = not options.no_cuda_graphs
    lines: list[dict[str, Any]] = []
    engine: Engine | None = None
    for name in options.cases:
        shape = CASES[name].shape
        if engine is None or engine.directory != model_directory(shape):
            engine = None  # its memory, before the next one's
            engine = Engine(shape, options)
        lines.append(measure(name, engine, options))
        print(json.dumps(lines[-1]), flush=True)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(json.dumps({"bench": "offline", "device": device, **setting, **machine(), "all": lines}))


if __name__ == "__main__":
    main()
