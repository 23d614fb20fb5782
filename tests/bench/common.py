"""What the benchmarks share: the machine, medians, taking turns. Knows no engine and no peer."""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "diglot-bench"
THREADS = 2


def peer_note(wanted: bool, *modules: str) -> str | None:
    """Why the peer does not take part; None when it does."""
    if not wanted:
        return "skipped: not asked for"
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"skipped: no {', '.join(missing)}; `make bench-peers` installs it" if missing else None


def median(values: list[float], digits: int = 1) -> float:
    """Median, rounded for printing."""
    return round(statistics.median(values), digits)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def interleave(
    rounds: int, runs: dict[str, Callable[[], dict[str, float]]], digits: int = 1
) -> dict[str, Any]:
    """Run each contestant in turn, `rounds` times; medians of every figure by contestant.

    Taking turns spreads what else the machine does over all of them alike.
    """
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            for figure, value in run().items():
                seen[name].setdefault(figure, []).append(value)
    return {
        name: {figure: median(values, digits) for figure, values in figures.items()}
        for name, figures in seen.items()
    }


def children(pid: int) -> list[int]:
    """Process ids of what a process has started, oldest first."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(map(int, listed))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    pressure = Path("/proc/pressure/cpu")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": THREADS,
        "torch": torch.__version__,
        "cpu_pressure": pressure.read_text().split()[1] if pressure.exists() else None,
    }
