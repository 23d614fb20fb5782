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
    environment = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=environment | {"TRITON_CACHE_DIR": str(cache), "COMPUTE_CAPABILITY": capability},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = [Kernel(*json.loads(line)) for line in done.stdout.splitlines()]
    for kernel in kernels:
        assert kernel.shared_bytes <= SHARED_BYTES[capability], kernel
    return kernels
