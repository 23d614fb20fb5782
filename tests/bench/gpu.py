"""Everything there is to check and to measure on a GPU, in one go, each part within its time.

First the tests that need a card, then the benchmarks, the most wanted first; a part that fails or
runs over its time costs no other part. JSON lines are appended to a file as they come, everything
else that is said to a log beside it. Weights of the shapes are made beside the tests. A table of
what came out is printed last.

    python -m tests.bench.gpu --out results.jsonl [--parts tests offline ...] [--seconds 600]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TESTS = "triton or device or cuda or sampling_rows or fp8 or sinks"
SIDE_BY_SIDE = ("-n", "8") if find_spec("xdist") else ()
SMALL = (
    "0.6b mixed 256",
    "0.6b mixed 256, all controls",
    "0.6b batch 1",
    "0.6b prompt 512",
    "0.6b prompt 2048",
    "1b batch 1",
)
FP8 = ("--quantization", "fp8", "--kv-cache-dtype", "fp8")
LARGE = ("8b batch 1", "8b prefill 8k", "8b 1000 1000 256")
PEERS = ("0.6b batch 1", "0.6b short 256")
EXPERTS = ("experts batch 1", "experts prompt 2048", "experts short 256")
FOUR_BITS = ("four bits batch 1", "four bits prompt 2048", "four bits short 256")
PEER = ("--peer", "--peer-limit", "30")
GUESSING = ("qwen3-0.6b", "llama-3.1-8b")
SHAPES = ("qwen3-0.6b", "llama-3.2-1b", "llama-3.1-8b", "qwen3-30b/4", "gpt-oss-20b/4")
PARTS: dict[str, tuple[int, list[str]]] = {
    "tests": (150, ["pytest", "tests/engine", "-k", TESTS, "-q", "-W", "default", *SIDE_BY_SIDE]),
    "large": (150, ["tests.bench.offline", "--rounds", "1", "--cases", *LARGE]),
    "fp8 weights": (
        60,
        ["tests.bench.offline", "--rounds", "1", "--quantization", "fp8", "--cases", *LARGE[:2]],
    ),
    "fp8 cache": (
        90,
        ["tests.bench.offline", "--rounds", "1", "--kv-cache-dtype", "fp8", "--cases", LARGE[2]],
    ),
    "fp8": (60, ["tests.bench.offline", "--rounds", "1", *FP8, "--cases", LARGE[2]]),
    "small": (90, ["tests.bench.offline", "--rounds", "2", "--cases", *SMALL]),
    "experts": (
        120,
        ["tests.bench.offline", "--rounds", "1", *PEER, "--cases", *EXPERTS],
    ),
    "fp8 experts": (
        90,
        ["tests.bench.offline", "--rounds", "1", "--quantization", "fp8", "--cases", *EXPERTS],
    ),
    "four bits": (
        120,
        ["tests.bench.offline", "--rounds", "1", *PEER, "--cases", *FOUR_BITS],
    ),
    "invariant": (
        60,
        ["tests.bench.offline", "--rounds", "1", "--batch-invariant", "--cases", SMALL[0]],
    ),
    "guesses": (
        60,
        ["tests.bench.speculation", "--device", "cuda", "--models", *GUESSING, "--rounds", "2"],
    ),
    "serving": (90, ["tests.bench.gpu_serving"]),
    "startup": (60, ["tests.bench.startup", "--models", "llama-3.1-8b", "--starts", "1"]),
    "sampler": (60, ["tests.bench.sampler", "--vocabularies", "152064", "--rows", "1", "256"]),
    "trace": (40, ["tests.bench.trace", "--controls"]),
    "peers": (
        120,
        ["tests.bench.offline", "--rounds", "1", *PEER, "--cases", *PEERS],
    ),
}
"""Seconds that a part may take, and the module that is run with its arguments."""


def make_weights() -> subprocess.Popen[bytes]:
    """In the background."""
    program = "import sys; from tests.bench.shapes import model_directory as make\n"
    program += "for name in sys.argv[1:]: make(name)"
    return subprocess.Popen([sys.executable, "-c", program, *SHAPES])


def run_part(name: str, out: Path, left: float) -> dict[str, Any]:
    """Run one part; its JSON lines go to the file, and the end of what it said to the table."""
    limit, command = PARTS[name]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=min(limit, left),
            check=False,
        )
        said, status = done.stdout, str(done.returncode)
    except subprocess.TimeoutExpired as expired:
        said, status = (expired.stdout or b"").decode(), "over its time"
    with out.with_suffix(".log").open("a") as log:
        log.write(f"=== {name}: {status}\n{said}\n")
    lines = said.splitlines()
    with out.open("a") as file:
        file.writelines(f"{line}\n" for line in lines if line.startswith('{"'))
    seconds = round(time.perf_counter() - began)
    return {"part": name, "status": status, "seconds": seconds, "last": lines[-1:]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=600, help="for all of them together")
    options = parser.parse_args()
    end = time.perf_counter() + options.seconds
    weights = make_weights()
    results: list[dict[str, Any]] = []
    for name in options.parts:
        left = end - time.perf_counter()
        if left < 1:
            break
        results.append(run_part(name, options.out, left))
        print(json.dumps(results[-1])[:600], flush=True)
        if name == "tests":
            weights.wait()
    weights.kill()
    print(*(f"{one['part']:12} {one['status']:14} {one['seconds']} s" for one in results), sep="\n")


if __name__ == "__main__":
    main()
