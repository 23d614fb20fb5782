"""Speculative decoding beside the same engine without it, on texts that repeat and that do not.

Both take turns on the same requests and must give the same tokens: on a GPU by `--batch-invariant`
only, which a run there may leave out to see what users get. Prints one JSON line: decode tokens per
second of each, their ratio, tokens per step, and the share of guesses that were right.

    python -m tests.bench.speculation [--models embedded 135m] [--tokens 7] [--batches 1]
        [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import build_parts
from engine.ipc import Submit
from engine.sampling_params import SamplingParams
from engine.text.tokenizer import load_tokenizer
from tests.bench.common import THREADS, interleave, machine
from tests.bench.shapes import model_directory

ROUNDS = 5
KV_CACHE_TOKENS = 32768
"""Of each of the two: by default one would take all of a card's memory."""
NEW_TOKENS = {"embedded": 512}
PARAGRAPH = (
    "The little fox walked through the forest and looked for a friend. It found a bird in a tall "
    "tree, and the bird sang a song about the sea. Then they went home before the rain came.\n\n"
)
STORY = "Once upon a time, there was a little fox who lived near a river."

Workload = tuple[tuple[int, ...], float]
"""Prompt and temperature."""


class Contestant:
    """An engine core in this process."""

    def __init__(self, model: Path, speculative_tokens: int, options: argparse.Namespace) -> None:
        config = EngineConfig(
            model=str(model),
            device=options.device,
            batch_invariant=options.batch_invariant or None,
            threads=THREADS,
            prefix_cache=False,
            kv_cache_tokens=KV_CACHE_TOKENS,
            speculative_tokens=speculative_tokens,
        )
        self._core = EngineCore(*build_parts(config, lambda phase: None))
        self._runs = 0
        self.tokens: list[list[int]] = []
        """What each request of the last run gave."""

    def run(self, workload: Workload, batch: int, new_tokens: int) -> dict[str, float]:
        """Decode rate of one batch, tokens per sequence and step, share of right guesses."""
        core, (prompt, temperature) = self._core, workload
        self._runs += 1
        ids = [f"{self._runs}-{number}" for number in range(batch)]
        for number, name in enumerate(ids):
            params = SamplingParams(
                temperature=temperature, seed=number, ignore_eos=True, max_new_tokens=new_tokens
            )
            core.submit(Submit(name, prompt, params))
        drawn: dict[str, list[int]] = {name: [] for name in ids}
        before, began = core.stats, 0.0
        while core.has_work:
            outputs = core.step()
            for output in outputs.outputs if outputs else ():
                drawn[output.request_id] += output.token_ids
            if not began and all(drawn.values()):
                began, before = time.perf_counter(), core.stats
        seconds, after = time.perf_counter() - began, core.stats
        self.tokens = list(drawn.values())
        generated = after.generated_tokens - before.generated_tokens
        guessed = after.draft_tokens - before.draft_tokens
        right = after.accepted_draft_tokens - before.accepted_draft_tokens
        return {
            "decode": generated / seconds,
            "tokens_per_step": generated / batch / (after.steps - before.steps),
            "guessed": guessed / generated,
            "right": right / guessed if guessed else 0.0,
        }


def workloads(name: str, model: Path) -> dict[str, Workload]:
    """By name. The random model's greedy text soon goes round in a circle; drawn, it never does."""
    if name == "embedded":
        tokenizer = load_tokenizer(str(model))
        repeated = tuple(tokenizer.encode(PARAGRAPH * 3))
        story = tuple(tokenizer.encode(STORY))
        return {
            "repeated paragraph, greedy": (repeated, 0.0),
            "repeated paragraph, temperature 1": (repeated, 1.0),
            "story, greedy": (story, 0.0),
            "story, temperature 1": (story, 1.0),
        }
    period = tuple(range(100, 116)) * 8
    return {"periodic, greedy": (period, 0.0), "periodic, temperature 1": (period, 1.0)}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All workloads and batch sizes of one model."""
    model = model_directory(name)
    plain, guessing = (Contestant(model, most, options) for most in (0, options.tokens))
    exact = options.device == "cpu" or options.batch_invariant
    result: dict[str, Any] = {}
    for batch in options.batches:
        for title, workload in workloads(name, model).items():
            runs = {
                key: partial(contestant.run, workload, batch, NEW_TOKENS.get(name, 192))
                for key, contestant in {"plain": plain, "speculative": guessing}.items()
            }
            interleave(1, runs)  # warm-up
            figures = interleave(options.rounds, runs, digits=3)
            same = plain.tokens == guessing.tokens
            assert same or not exact, "guesses changed the text"
            ours, theirs = figures["speculative"], figures["plain"]
            result[f"{title}, batch {batch}"] = {
                "plain": round(theirs["decode"], 1),
                "speculative": round(ours["decode"], 1),
                "ratio": round(ours["decode"] / theirs["decode"], 2),
                "tokens_per_step": round(ours["tokens_per_step"], 2),
                "guessed_per_token": round(ours["guessed"], 2),
                "right": round(ours["right"], 2),
                "same text": same,
            }
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded", "135m"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--tokens", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch-invariant", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    results = {name: measure(name, options) for name in options.models}
    line = {"bench": "speculation", "unit": "decode tokens/s", "speculative_tokens": options.tokens}
    line |= {"device": options.device, "batch_invariant": options.batch_invariant}
    line |= {**machine(), "models": results}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
