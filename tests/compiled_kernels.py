"""Runs a program that compiles kernels (`tests.triton_compiler`) where nothing is interpreted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SHARED_BYTES = {"89": 99 * 1024, "90": 227 * 1024}
"""What one program of a kernel may have, by compute capability: on Ada, which has the least of all
that are offered, and on Hopper."""


class Kernel(NamedTuple):
    """One kernel for one kind of arguments."""

    name: str
    shared_bytes: int
    tensor_cores: bool


def compiled_by(module: str, cache: Path, capability: str = "90") -> list[Kernel]:
    """What `python -m module` says that it compiled; fails when it does not compile, or does not
    fit a card of that compute capability."""
    said = run_uninterpreted(module, TRITON_CACHE_DIR=str(cache), COMPUTE_CAPABILITY=capability)
    kernels = [Kernel(*json.loads(line)) for line in said.splitlines()]
    for kernel in kernels:
        assert kernel.shared_bytes <= SHARED_BYTES[capability], kernel
    return kernels


def run_uninterpreted(module: str, *arguments: str, **environment: str) -> str:
    """What `python -m module` says where kernels are functions to compile; it must end well."""
    inherited = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=inherited | environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
