"""What the tests of engine laws share: an engine in this process, on a tiny random model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import build_parts
from engine.ipc import SequenceOutput, Submit
from engine.sampling_params import SamplingParams


def make_core(model: Path, **settings: Any) -> EngineCore:
    """A core on the CPU in float32; small budgets, so that chunks and mixing happen."""
    return EngineCore(*build_parts(make_config(model, **settings), lambda phase: None))


def make_config(model: Path, **settings: Any) -> EngineConfig:
    defaults: dict[str, Any] = {
        "model": str(model),
        "device": "cpu",
        "dtype": "float32",
        "threads": 2,
        "kv_cache_tokens": 16 * 1024,
        "max_num_batched_tokens": 256,
        "max_num_sequences": 64,
    }
    return EngineConfig(**{**defaults, **settings})


def run(core: EngineCore, requests: Iterable[Submit]) -> dict[str, list[SequenceOutput]]:
    """Submit everything, step until all is done; outputs by request id."""
    outputs: dict[str, list[SequenceOutput]] = {}
    for request in requests:
        outputs[request.request_id] = []
        core.submit(request)
    while core.has_work or core.stats.waiting:  # the latter for a grammar
        step = core.step()
        for output in step.outputs if step else ():
            assert output.error is None, output.error
            outputs[output.request_id].append(output)
    return outputs


def tokens(outputs: list[SequenceOutput]) -> list[int]:
    """All token ids of one request."""
    return [token for output in outputs for token in output.token_ids]


def chosen_logprobs(outputs: list[SequenceOutput]) -> list[float]:
    """Log-probabilities of the generated tokens: equal only when the logits were."""
    return [entry.logprob for output in outputs for entry in output.logprobs]


def sampled(request_id: str, prompt: list[int], seed: int, count: int = 24) -> Submit:
    """A seeded request with every kind of control at work."""
    params = SamplingParams(
        seed=seed,
        temperature=1.1,
        top_p=0.95,
        frequency_penalty=0.3,
        repetition_penalty=1.1,
        logit_bias={3: 0.5},
        max_new_tokens=count,
        ignore_eos=True,
        logprobs=2,
    )
    return Submit(request_id, tuple(prompt), params)
