"""What a step costs the host beside the model: planning it, packing its news, taking its tokens in.

On a GPU this runs while the step before is computed; what takes longer than that leaves the card
idle. The runner computes nothing. Prints one JSON line: microseconds a step, by rows that decode.

    python -m tests.bench.host [--rows 1 8 64 256]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from engine.config import EMBEDDED_MODEL
from engine.core import EngineCore
from engine.execution.runner import DoneStep
from engine.execution.step_packet import PacketWriter, block_updates
from engine.execution.step_size import size_of
from engine.grammar.compiler import GrammarCompiler
from engine.ipc import Submit, encode
from engine.sampling_params import SamplingParams
from engine.scheduling.blocks import BlockManager
from engine.scheduling.plan import StepPlan, StepResult
from engine.scheduling.prefix_cache import PrefixCache
from engine.scheduling.scheduler import Scheduler
from engine.text.tokenizer import load_tokenizer
from engine.types import ModelCard
from tests.bench.common import machine, median

ROUNDS = 3
STEPS = 200
CONTEXT = 4096
BLOCK_SIZE = 16


class IdleRunner:
    """A device that is always done already."""

    max_plans_ahead = 1

    def __init__(self, num_rows: int) -> None:
        self._packets = PacketWriter(num_rows)

    def launch(self, plan: StepPlan) -> DoneStep:
        """Pack what a device would be told, and draw the same token everywhere."""
        self._packets.write(plan, size_of(plan))
        block_updates(plan)
        return DoneStep(StepResult([7] * len(plan.sampling)))


def decoding_core(num_rows: int) -> EngineCore:
    """An engine in which `num_rows` sequences of 100 to 1000 tokens decode."""
    blocks = BlockManager(num_rows * CONTEXT // BLOCK_SIZE, BLOCK_SIZE, PrefixCache(BLOCK_SIZE))
    scheduler = Scheduler(
        blocks,
        max_num_sequences=num_rows,
        max_num_batched_tokens=8192,
        max_model_len=CONTEXT,
        max_plans_ahead=IdleRunner.max_plans_ahead,
    )
    card = ModelCard(
        id="none", created=0, max_model_len=CONTEXT, vocab_size=1000, fingerprint="fp_none"
    )
    grammars = GrammarCompiler(lambda: load_tokenizer(Path(EMBEDDED_MODEL)), 1000, ())
    core = EngineCore(card, scheduler, blocks, IdleRunner(num_rows), grammars)
    draw = random.Random(0)
    params = SamplingParams(temperature=0, ignore_eos=True, max_new_tokens=3000)
    for number in range(num_rows):
        prompt = [draw.randrange(1000) for _ in range(draw.randint(100, 1000))]
        core.submit(Submit(f"r{number}", tuple(prompt), params))
    while core.stats.generated_tokens < num_rows:
        core.step()
    return core


def measure(num_rows: int) -> float:
    """Microseconds a step, messages to the server included."""
    core = decoding_core(num_rows)
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(STEPS):
            outputs = core.step()
            assert outputs is not None
            encode(outputs)
        rounds.append((time.perf_counter() - began) / STEPS * 1e6)
    return median(rounds)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 64, 256])
    options = parser.parse_args()
    line = {"bench": "host", "unit": "microseconds/step", **machine()}
    print(json.dumps(line | {"rows": {str(rows): measure(rows) for rows in options.rows}}))


if __name__ == "__main__":
    main()
