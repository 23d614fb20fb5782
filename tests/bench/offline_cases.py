"""The cases that the aims for a GPU are stated in, and what each must read and compute at least.

Knows shapes and lengths; no engine.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.ipc import Submit
from engine.models.spec import ModelSpec, load_spec
from engine.sampling_params import SamplingParams
from tests.bench.shapes import model_directory

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

    def submits(self) -> list[Submit]:
        """The same for everyone, every time."""
        draw = random.Random(0)
        vocab_size = load_spec(model_directory(self.shape)).vocab_size
        made: list[Submit] = []
        for number in range(self.requests):
            prompt, answer = self.lengths(draw)
            ids = tuple(draw.randrange(1, vocab_size) for _ in range(prompt))
            made.append(Submit(str(number), ids, with_answer(self.params, answer, number)))
        return made


def _mixed(draw: random.Random) -> tuple[int, int]:
    return draw.randint(100, 1024), draw.randint(100, 1024)


MIXED = Case("qwen3-0.6b", 256, _mixed)
CASES = {
    "0.6b mixed 256": MIXED,
    "0.6b mixed 256, all controls": replace(MIXED, params=EVERYTHING),
    "0.6b short 256": Case("qwen3-0.6b", 256, lambda draw: (draw.randint(64, 192), 64)),
    "0.6b batch 1": Case("qwen3-0.6b", 1, lambda _: (128, 256)),
    "0.6b prompt 512": Case("qwen3-0.6b", 1, lambda _: (512, 1)),
    "0.6b prompt 2048": Case("qwen3-0.6b", 1, lambda _: (2048, 1)),
    "1b batch 1": Case("llama-3.2-1b", 1, lambda _: (32, 128)),
    "experts batch 1": Case("qwen3-30b/4", 1, lambda _: (128, 128)),
    "experts prompt 2048": Case("qwen3-30b/4", 1, lambda _: (2048, 1)),
    "experts short 256": Case("qwen3-30b/4", 256, lambda draw: (draw.randint(64, 192), 64)),
    "four bits batch 1": Case("gpt-oss-20b/4", 1, lambda _: (128, 128)),
    "four bits prompt 2048": Case("gpt-oss-20b/4", 1, lambda _: (2048, 1)),
    "four bits short 256": Case("gpt-oss-20b/4", 256, lambda draw: (draw.randint(64, 192), 64)),
    "8b batch 1": Case("llama-3.1-8b", 1, lambda _: (128, 128)),
    "8b prefill 8k": Case("llama-3.1-8b", 1, lambda _: (8192, 1)),
    "8b 1000 1000 256": Case("llama-3.1-8b", 256, lambda _: (1000, 1000)),
    "tiny": Case("tiny", 8, lambda draw: (draw.randint(10, 60), draw.randint(5, 20))),
}


def with_answer(params: SamplingParams, answer: int, number: int = 0) -> SamplingParams:
    """For an answer of that many tokens; request `number` has a seed of its own."""
    fields = {name: getattr(params, name) for name in params.__struct_fields__}
    seed = None if params.seed is None else params.seed + number
    return SamplingParams(**{**fields, "max_new_tokens": answer, "seed": seed})


@dataclass(frozen=True)
class Work:
    """What some requests ask of a card at the least: bytes of weights and of keys and values that
    decode steps read, and operations of prefill. Activations, the prompts' keys and the head's
    operations are left out, and so is what decoding computes."""

    steps: int
    weight_bytes: float
    kv_bytes: float
    prefill_flops: float

    def bound(self, read: float, matmul: float) -> float:
        """Seconds at so many bytes and operations a second."""
        return (self.weight_bytes + self.kv_bytes) / read + self.prefill_flops / matmul


def work_of(spec: ModelSpec, requests: list[Submit], *, weight_size: float, kv_size: int) -> Work:
    """`weight_size`, `kv_size`: bytes of a number, but experts may come in four bits. All requests
    are taken to decode side by side, which takes as many steps as the longest answer has tokens
    after its first."""
    layers = spec.layer_weights
    per_step = _bytes_read(spec, len(requests), weight_size)
    per_step += spec.vocab_size * spec.hidden_size * 2
    per_key = 2 * spec.num_layers * spec.num_kv_heads * spec.head_dim * kv_size
    scores = 4 * spec.num_layers * spec.num_heads * spec.head_dim
    steps, keys, flops = 0, 0.0, 0.0
    for one in requests:
        prompt, answer = len(one.prompt_token_ids), one.params.max_new_tokens or 0
        after_first = max(answer - 1, 0)
        steps = max(steps, after_first)
        keys += after_first * (prompt + after_first / 2)
        flops += 2.0 * layers * prompt + scores * prompt * prompt / 2
    return Work(steps, per_step * steps, keys * per_key, flops)


_FOUR_BITS = 17 / 32
"""Bytes of a weight of four bits and its part of a scale."""


def _bytes_read(spec: ModelSpec, rows: int, weight_size: float) -> float:
    """Of the matrices of all layers, by a step of so many rows. Of experts that is what is to be
    expected where every row takes any of them alike."""
    routing = spec.routing
    if routing is None:
        return spec.layer_weights * weight_size
    one = 3 * spec.num_layers * spec.hidden_size * spec.intermediate_size
    met = routing.experts * (1 - (1 - routing.per_token / routing.experts) ** rows)
    expert_size = _FOUR_BITS if spec.expert_format == "mxfp4" else weight_size
    return (spec.layer_weights - routing.per_token * one) * weight_size + met * one * expert_size
