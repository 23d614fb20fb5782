"""The engine alone, without HTTP, beside `transformers` generate, llama.cpp and vLLM's CPU build.

Greedy, the same weights, lengths, precision and threads; contestants take turns. Prints one JSON
line: prefill and decode tokens per second at each batch size, and our ratio to the peer. vLLM takes
part where `VLLM_PYTHON` names the interpreter of an environment that has it.

    python -m tests.bench.engine [--models embedded 135m] [--dtype bfloat16] [--peers]
        [--prompt-tokens 1024] [--quantization int8]

With eight bits of each weight llama.cpp has its Q8_0, which rounds activations, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import build_parts
from engine.ipc import Submit
from engine.sampling_params import SamplingParams
from tests.bench.common import CACHE, THREADS, interleave, machine, peer_note
from tests.bench.convert_gguf import converted
from tests.bench.generate import generate_seconds
from tests.bench.llama_cpp import LlamaCpp
from tests.bench.shapes import model_directory
from tests.bench.vllm_peer import VllmCpu, vllm_python, vllm_version

PROMPT_TOKENS = 128
NEW_TOKENS = 48
ROUNDS = 3
PEERS = {"transformers": ["transformers"], "llama.cpp": ["llama_cpp", "gguf"], "vllm": []}
"""With the modules that each needs here."""
VERSION_OF = {"transformers": "transformers", "llama.cpp": "llama-cpp-python"}


class Sizes(NamedTuple):
    """Of one batch: prompts, and how long each and its answer are."""

    batch: int
    vocab_size: int
    new_tokens: int = NEW_TOKENS
    prompt_tokens: int = PROMPT_TOKENS

    def prompts(self) -> list[list[int]]:
        """The same pseudo-random ones for every contestant."""
        generator = torch.Generator().manual_seed(self.batch)
        shape = (self.batch, self.prompt_tokens)
        return torch.randint(1, self.vocab_size, shape, generator=generator).tolist()

    def rates(self, first_seconds: float, rest_seconds: float) -> dict[str, float]:
        """Tokens per second before and after the first token."""
        return {
            "prefill": self.batch * self.prompt_tokens / first_seconds,
            "decode": self.batch * (self.new_tokens - 1) / rest_seconds,
        }


class Diglot:
    """This project's engine core, in process."""

    def __init__(
        self,
        model: Path,
        dtype: str,
        device: Literal["cpu", "cuda"] = "cpu",
        most_tokens: int = 4096,
        quantization: Literal["int8"] | None = None,
    ) -> None:
        """`most_tokens`: of all prompts together, so that one step has all first tokens."""
        config = EngineConfig(
            model=str(model),
            dtype=dtype,  # type: ignore[arg-type]
            device=device,
            threads=THREADS,
            prefix_cache=False,
            max_num_batched_tokens=most_tokens,
            quantization=quantization,
        )
        self._core = EngineCore(*build_parts(config, lambda phase: None))
        self._runs = 0

    def run(self, sizes: Sizes) -> dict[str, float]:
        """Prefill and decode rate of one batch, in tokens per second."""
        core = self._core
        params = SamplingParams(temperature=0, ignore_eos=True, max_new_tokens=sizes.new_tokens)
        self._runs += 1
        for number, ids in enumerate(sizes.prompts()):
            core.submit(Submit(f"{self._runs}-{number}", tuple(ids), params))
        began = time.perf_counter()
        first = None
        while core.has_work:
            outputs = core.step()
            if first is None and outputs is not None:
                first = time.perf_counter()
        assert first is not None
        return sizes.rates(first - began, time.perf_counter() - first)


class Transformers:
    """Hugging Face `generate`, eager, with its default cache."""

    def __init__(self, model: Path, dtype: str) -> None:
        from transformers import AutoModelForCausalLM

        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self._model: Any = loaded.eval()

    def run(self, sizes: Sizes) -> dict[str, float]:
        """As `Diglot.run`; the first token's time is that of a run for one token."""
        ids = torch.tensor(sizes.prompts())
        first = generate_seconds(self._model, ids, 1)
        return sizes.rates(first, generate_seconds(self._model, ids, sizes.new_tokens) - first)


class LlamaCppRates:
    """llama.cpp, by the same clock."""

    def __init__(self, model: Path, dtype: str, most_rows: int, length: int) -> None:
        path = converted(model, dtype, CACHE)
        self._peer = LlamaCpp(path, threads=THREADS, most_rows=most_rows, length=length)

    def run(self, sizes: Sizes) -> dict[str, float]:
        """As `Diglot.run`."""
        return sizes.rates(*self._peer.run(sizes.prompts(), sizes.new_tokens))


class VllmRates:
    """vLLM, by its own clock."""

    def __init__(self, model: Path, dtype: str, most_rows: int, length: int) -> None:
        python = vllm_python()
        assert python is not None
        self._peer = VllmCpu(
            python, model, dtype, threads=THREADS, most_rows=most_rows, length=length
        )

    def run(self, sizes: Sizes) -> dict[str, float]:
        """As `Diglot.run`."""
        return sizes.rates(*self._peer.run(sizes.prompts(), sizes.new_tokens))

    def close(self) -> None:
        """Let go of its memory."""
        self._peer.close()


def measure(name: str, options: argparse.Namespace, peers: set[str]) -> dict[str, Any]:
    """All batch sizes of one model."""
    directory, dtype = model_directory(name), options.dtype
    vocab_size = json.loads((directory / "config.json").read_text())["vocab_size"]
    most = (max(options.batches), options.prompt_tokens + options.new_tokens)
    prompts = max(4096, max(options.batches) * options.prompt_tokens)
    kept = options.quantization
    contestants: dict[str, Any] = {
        "diglot": Diglot(directory, dtype, most_tokens=prompts, quantization=kept)
    }
    if "transformers" in peers:
        contestants["transformers"] = Transformers(directory, dtype)
    if "llama.cpp" in peers:
        contestants["llama.cpp"] = LlamaCppRates(directory, kept or dtype, *most)
    if "vllm" in peers:
        contestants["vllm"] = VllmRates(directory, dtype, *most)
    result: dict[str, Any] = {}
    for batch in options.batches:
        sizes = Sizes(batch, vocab_size, options.new_tokens, options.prompt_tokens)
        for contestant in contestants.values():
            contestant.run(sizes)  # warm-up
        figures = interleave(
            options.rounds,
            {key: partial(c.run, sizes) for key, c in contestants.items()},
        )
        ours = figures["diglot"]
        figures["ratio"] = {
            peer: {key: round(ours[key] / theirs[key], 2) for key in ours}
            for peer, theirs in figures.items()
            if peer != "diglot"
        }
        result[f"batch {batch}"] = figures
    if "vllm" in peers:
        contestants["vllm"].close()
    return result


def version_of(peer: str) -> str:
    """Of a peer that takes part."""
    return vllm_version() if peer == "vllm" else version(VERSION_OF[peer])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded", "135m"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--quantization", choices=["int8"])
    parser.add_argument("--prompt-tokens", type=int, default=PROMPT_TOKENS)
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    notes = {name: peer_note(name in options.peers, *needed) for name, needed in PEERS.items()}
    if vllm_python() is None:
        notes["vllm"] = "skipped: VLLM_PYTHON names no interpreter"
    peers = {name for name, note in notes.items() if note is None}
    results = {name: measure(name, options, peers) for name in options.models}
    setting = {"prompt": options.prompt_tokens, "new": options.new_tokens, "dtype": options.dtype}
    setting |= {"quantization": options.quantization}
    line = {"bench": "engine", "unit": "tokens/s", "greedy": True, **setting, **machine()}
    line |= {"rounds": options.rounds}
    line |= {"peers": {name: note or version_of(name) for name, note in notes.items()}}
    line |= {"models": results}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
