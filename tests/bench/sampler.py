"""What it costs to draw a step's tokens: microseconds by vocabulary, rows and features.

The same logits and parameters for every contestant: the stages in torch, and the kernels beside
them, taking turns. A step is what one costs in steady state, one after the other, with what
carries the rows' state on; building a batch is not in it. Prints one JSON line.

    python -m tests.bench.sampler [--device cuda] [--vocabularies 32000 152064] [--rows 1 8 64 256]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.native.build import built_library
from engine.native.kernels import Kernels
from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import Sampler
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling_params import SamplingParams
from tests.bench.common import THREADS, machine, median

FEATURES = {
    "greedy": SamplingParams(temperature=0.0),
    "temperature": SamplingParams(temperature=0.8),
    "top-p": SamplingParams(temperature=0.8, top_p=0.95),
    "top-k": SamplingParams(temperature=0.8, top_k=50),
    "penalties": SamplingParams(
        temperature=0.8, frequency_penalty=0.2, presence_penalty=0.1, repetition_penalty=1.1
    ),
    "all with logprobs": SamplingParams(
        temperature=0.8,
        top_k=50,
        top_p=0.95,
        min_p=0.01,
        frequency_penalty=0.2,
        presence_penalty=0.1,
        repetition_penalty=1.1,
        logit_bias={11: 1.0, 12: -1.0},
        logprobs=5,
    ),
}
SPREAD = 3.0  # standard deviation of the logits: some hundred tokens share most of the weight
CONTEXT = 256  # tokens of prompt and of output that the penalties know
ROUNDS = 5
LEAST_SECONDS = 0.03  # of a round, which is one step at least
MOST_SECONDS = 1.0  # of a case with all its rounds; where a step takes longer, one must do

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Case:
    """Logits on the device, and rows that all ask for the same."""

    logits: Tensor  # float32 [rows, vocab]
    params: SamplingParams

    def occupants(self) -> list[SamplingRow]:
        vocab_size = self.logits.shape[1]
        ids = [(7 * index) % vocab_size for index in range(2 * CONTEXT)]
        return [
            SamplingRow(self.params, seed, ids[:CONTEXT], ids[CONTEXT:])
            for seed in range(len(self.logits))
        ]

    def batch_step(self, sampler: Sampler | NativeSampler) -> Step:
        """A batch that stays the same."""
        batch = SamplingBatch.build(self.occupants(), self.logits.shape[1], self.logits.device)

        def step() -> None:
            batch.advance(sampler.sample(self.logits, batch).token_ids)

        return step

    def triton_step(self) -> Step:
        """The kernels over rows; log-probabilities stay on the device."""
        from engine.sampling.triton_sampler import TritonSampler

        num_rows, vocab_size = self.logits.shape
        rows = SamplingRows(num_rows, vocab_size, self.logits.device)
        for row, occupant in enumerate(self.occupants()):
            rows.set(row, occupant)
        sampler = TritonSampler(rows)
        row_ids = torch.arange(num_rows, dtype=torch.int32, device=self.logits.device)
        numbers = list(range(num_rows))

        def step() -> None:
            sampler.sample(self.logits, row_ids, numbers)

        return step

    def contestants(self) -> dict[str, Step]:
        steps = {"torch": self.batch_step(Sampler())}
        if self.logits.is_cuda:
            steps["triton"] = self.triton_step()
        elif library := built_library():
            steps["native"] = self.batch_step(NativeSampler(Kernels(library)))
        return steps


def microseconds(step: Step, num_steps: int, device: torch.device) -> float:
    """Of one step, when they follow one another; on a GPU with the wait for the last."""
    began = time.perf_counter()
    for _ in range(num_steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e6 * (time.perf_counter() - began) / num_steps


def measure(case: Case, rounds: int) -> dict[str, float]:
    """Medians by contestant, who take turns; where no round fits, the first step must do."""
    device = case.logits.device
    steps = case.contestants()
    first = {name: microseconds(step, 1, device) for name, step in steps.items()}
    if device.type == "cuda":  # the first ones compiled
        first = {name: microseconds(step, 3, device) for name, step in steps.items()}
    lengths = {name: max(1, int(LEAST_SECONDS * 1e6 / first[name])) for name in steps}
    seen: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + MOST_SECONDS - sum(first.values()) / 1e6
    for _ in range(rounds):
        if time.perf_counter() > end:
            break
        for name, step in steps.items():
            seen[name].append(microseconds(step, lengths[name], device))
    return {name: median(values or [first[name]]) for name, values in seen.items()}


def cases(
    vocabularies: list[int], rows: list[int], device: torch.device
) -> Iterator[tuple[str, Case]]:
    """Each with the vocabulary, the rows and the features that name it."""
    for vocab_size in vocabularies:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(max(rows), vocab_size, generator=generator) * SPREAD
        logits = logits.to(device)
        for num_rows in rows:
            for name, params in FEATURES.items():
                yield f"{vocab_size} {num_rows} {name}", Case(logits[:num_rows], params)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--vocabularies", nargs="+", type=int, default=[32_000, 152_064])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 64, 256])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    device = torch.device(options.device)
    with torch.inference_mode():
        results = {
            name: measure(case, options.rounds)
            for name, case in cases(options.vocabularies, options.rows, device)
        }
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    setting = {"unit": "us/step", "device": device.type, "gpu": name, "spread": SPREAD}
    print(json.dumps({"bench": "sampler", **setting, **machine(), "results": results}))


if __name__ == "__main__":
    main()
