"""What a grammar costs: decoding under one beside decoding without, and the first token's wait.

The same prompts, lengths and seeds; contestants take turns. The schemas have no end within the
lengths measured, so that all generate the same number of tokens. Prints one JSON line.

    python -m tests.bench.grammar [--models embedded 135m] [--batch 16]
"""

from __future__ import annotations

import argparse
import itertools
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
from engine.sampling_params import Grammar, SamplingParams
from tests.bench.common import THREADS, interleave, machine
from tests.bench.engine import Sizes
from tests.bench.shapes import model_directory

NEW_TOKENS = 64
ROUNDS = 5
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "array of objects": {"type": "array", "items": PERSON, "minItems": 500},
    "long string": {"type": "string", "minLength": 2000},
}


class Contestant:
    """One engine core, and runs with or without a schema."""

    def __init__(self, model: Path) -> None:
        config = EngineConfig(
            model=str(model), dtype="float32", device="cpu", threads=THREADS, prefix_cache=False
        )
        self._core = EngineCore(*build_parts(config, lambda phase: None))
        self._names = itertools.count()

    def decode(self, batch: int, vocab_size: int, grammar: Grammar | None) -> dict[str, float]:
        """Tokens per second after the first."""
        params = SamplingParams(
            temperature=1.0, seed=1, max_new_tokens=NEW_TOKENS, ignore_eos=True, grammar=grammar
        )
        for ids in Sizes(batch, vocab_size).prompts():
            self._submit(ids, params)
        tokens, began, open_rows = 0, 0.0, batch
        while open_rows:
            outputs = self._core.step()
            if outputs is None:
                continue  # nothing runs while the grammar is compiled
            began = began or time.perf_counter()
            tokens += sum(len(output.token_ids) for output in outputs.outputs)
            open_rows -= sum(output.finish_reason is not None for output in outputs.outputs)
        return {"tokens/s": (tokens - batch) / (time.perf_counter() - began)}

    def first_token(self, vocab_size: int, grammar: Grammar | None) -> dict[str, float]:
        """Milliseconds from the request to its first token."""
        params = SamplingParams(temperature=1.0, seed=1, max_new_tokens=1, grammar=grammar)
        began = time.perf_counter()
        self._submit(Sizes(1, vocab_size).prompts()[0][:16], params)
        outputs = None
        while outputs is None:  # nothing runs while the grammar is compiled
            outputs = self._core.step()
        return {"ms": 1000 * (time.perf_counter() - began)}

    def fresh(self, vocab_size: int) -> dict[str, float]:
        """The same with a schema never seen before."""
        schema = {**PERSON, "title": f"schema {next(self._names)}"}
        return self.first_token(vocab_size, Grammar("json_schema", json.dumps(schema)))

    def _submit(self, ids: list[int], params: SamplingParams) -> None:
        self._core.submit(Submit(f"{next(self._names)}", tuple(ids), params))


def measure(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """One model."""
    directory = model_directory(name)
    vocab_size = json.loads((directory / "config.json").read_text())["vocab_size"]
    contestant = Contestant(directory)
    grammars = {key: Grammar("json_schema", json.dumps(value)) for key, value in SCHEMAS.items()}
    runs = {
        key: partial(contestant.decode, batch, vocab_size, grammar)
        for key, grammar in {"none": None, **grammars}.items()
    }
    for run in runs.values():
        run()  # warm-up
    decode = interleave(rounds, runs)
    plain = decode["none"]["tokens/s"]
    ratios = {key: round(decode[key]["tokens/s"] / plain, 2) for key in grammars}
    known = Grammar("json_schema", json.dumps(PERSON))
    waits = {
        "none": partial(contestant.first_token, vocab_size, None),
        "known schema": partial(contestant.first_token, vocab_size, known),
        "fresh schema": partial(contestant.fresh, vocab_size),
    }
    for wait in waits.values():
        wait()
    return {"decode": decode, "ratio": ratios, "first token": interleave(rounds, waits)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded", "135m"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    results = {name: measure(name, options.batch, options.rounds) for name in options.models}
    setting = {"batch": options.batch, "new": NEW_TOKENS, "dtype": "float32"}
    print(json.dumps({"bench": "grammar", **setting, **machine(), "models": results}))


if __name__ == "__main__":
    main()
