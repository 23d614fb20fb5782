"""Runs a program that compiles kernels (`tests.triton_compiler`) where nothing is interpreted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SHARED_BYTES = 227 * 1024
"""What one program of a kernel may have on Hopper."""


class Kernel(NamedTuple):
    """One kernel for one kind of arguments."""

    name: str
    shared_bytes: int
    tensor_cores: bool


def compiled_by(module: str, cache: Path) -> list[Kernel]:
    """What `python -m module` says that it compiled; fails when it does not compile."""
    environment = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=environment | {"TRITON_CACHE_DIR": str(cache)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Kernel(*json.loads(line)) for line in done.stdout.splitlines()]
