"""The kernels compile for a card that need not be there, and fit it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SHARED_BYTES = 227 * 1024
"""What one program may have on Hopper."""


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    environment = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.attention.compile_kernels"],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    names = [name for name, _, _ in kernels]
    assert set(names) == {
        "_store_kernel",
        "attend_kernel",
        "_reduce_kernel",
        "_reduce_in_order_kernel",
    }
    # A decode, a chunk, and both in one where bits must not tell, with a window and without, for
    # three sets of sizes: what is one kernel here has one rounding.
    assert names.count("attend_kernel") == 3 * 2 * 3
    for name, shared, tensor_cores in kernels:
        assert shared <= SHARED_BYTES
        assert tensor_cores == (name == "attend_kernel")
