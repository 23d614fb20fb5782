from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SOURCES = list(Path("engine/sampling").resolve().glob("triton_*.py"))


def test_every_kernel_compiles_for_a_card(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.sampling.compile_kernels"],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    kernels = {name for text in texts for name in re.findall(r"def (_\w+_kernel)", text)}
    assert kernels and set(done.stdout.split()) == kernels
