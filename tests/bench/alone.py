"""The engine without HTTP, fed with the same requests in the same way as a server is.

A closed loop in process: the step's outputs are looked at for ended samples and nothing else. What
a server loses against this is what serving costs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import build_parts
from engine.ipc import Submit
from engine.sampling_params import SamplingParams


class EngineAlone:
    """One engine core, greedy, `new_tokens` a sample."""

    def __init__(self, config: EngineConfig, new_tokens: int) -> None:
        self._core = EngineCore(*build_parts(config, lambda phase: None))
        self._params = SamplingParams(temperature=0, ignore_eos=True, max_new_tokens=new_tokens)
        self._count = 0

    def run(self, prompts: Sequence[Sequence[int]], concurrency: int) -> dict[str, float]:
        """All prompts, `concurrency` at a time; output tokens per second and processor time."""
        waiting = list(reversed(prompts))
        began, spent = time.perf_counter(), time.process_time()
        tokens = open_samples = 0
        while waiting or open_samples:
            while waiting and open_samples < concurrency:
                self._submit(waiting.pop())
                open_samples += 1
            outputs = self._core.step()
            for output in outputs.outputs if outputs is not None else ():
                tokens += len(output.token_ids)
                open_samples -= output.finish_reason is not None
        return {
            "throughput": tokens / (time.perf_counter() - began),
            "engine us per token": 1e6 * (time.process_time() - spent) / tokens,
        }

    def _submit(self, prompt: Sequence[int]) -> None:
        self._count += 1
        self._core.submit(Submit(str(self._count), tuple(prompt), self._params))
