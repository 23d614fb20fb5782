"""A program that serves requests of many sizes without a card, and prints the names of the
kernels that a card would have had to compile after the start."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.execution.build import assemble
from engine.execution.build_device import load_device_runner
from engine.execution.device_runner import DeviceRunner
from engine.execution.setup import resolve
from engine.ipc import Submit
from engine.sampling_params import SamplingParams
from tests.engine.laws import make_config, run
from tests.triton_compiler import noting

SIZES = [(1, 5), (1, 100), (3, 100), (9, 30), (48, 20), (100, 9), (256, 5), (1, 3000), (5, 700)]
"""Requests that come at once, and how long their prompts are."""

GREEDY = SamplingParams(temperature=0.0)
CONTROLS = (SamplingParams(seed=3), SamplingParams(temperature=0.8, top_p=0.9, top_k=40, seed=3))


def serve(core: EngineCore, requests: int, prompt_tokens: int, params: SamplingParams) -> None:
    """Some tokens for each."""
    prompts = [[(7 * at + n) % 250 for at in range(prompt_tokens)] for n in range(requests)]
    limited = msgspec.structs.replace(params, max_new_tokens=3, ignore_eos=True)
    run(core, [Submit(f"r{n}", tuple(prompt), limited) for n, prompt in enumerate(prompts)])


def late_kernels(config: EngineConfig, *, batch_invariant: bool) -> list[str]:
    """What no step at the start needed."""
    setup = replace(resolve(config), batch_invariant=batch_invariant)
    with noting() as kernels:
        loaded = load_device_runner(setup, lambda phase: None)
        assert isinstance(loaded.runner, DeviceRunner)
        loaded.runner.warm_up()  # which is for cards, and is left out here
        at_start = len(kernels)
        core = EngineCore(*assemble(setup, loaded))
        for size in SIZES:
            serve(core, *size, GREEDY)
        for params in CONTROLS:
            serve(core, 3, 100, params)
            serve(core, 48, 20, params)
    assert at_start > 0
    return kernels[at_start:]


if __name__ == "__main__":
    model = Path(sys.argv[1])
    config = make_config(
        model,
        dtype="bfloat16",
        max_num_sequences=256,
        max_num_batched_tokens=2048,
        kv_cache_tokens=40_000,
    )
    for batch_invariant in (False, True):
        for name in late_kernels(config, batch_invariant=batch_invariant):
            sys.stdout.write(f"{name}\n")
