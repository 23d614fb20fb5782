"""What this machine offers: device, threads, free memory. Knows nothing of models."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from engine.errors import EngineFault

_CACHED_WEIGHTS = 64 * 2**20
"""Bytes of weights that count as small."""

log = logging.getLogger(__name__)


def resolve_device(wanted: str) -> torch.device:
    """`auto` takes a GPU when there is one.

    Raises:
        EngineFault: a GPU is demanded and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise EngineFault("--device cuda: no CUDA device is available.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
        if wanted == "cpu":
            log.info("no GPU found, running on the CPU")
    return torch.device(wanted)


def cpu_threads(wanted: int | None, weight_bytes: int) -> int:
    """Threads for tensor work: as asked, else the processors this process may use.

    A model whose weights stay in the caches takes half of them: its operations are too short to
    gain from more, and threads that wait for each other at the end of each operation wait long
    when the server process needs a processor in between.
    """
    if wanted is not None:
        return wanted
    affinity = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    usable = min(allowed, _cgroup_limit(Path("/sys/fs/cgroup/cpu.max")))
    return max(1, usable // 2 if stays_in_cache(weight_bytes) else usable)


def stays_in_cache(weight_bytes: int) -> bool:
    """Whether a CPU can be expected to keep weights of this size close."""
    return weight_bytes < _CACHED_WEIGHTS


def default_dtype(
    saved: torch.dtype, weight_bytes: int, device: torch.device, *, kernels: bool
) -> torch.dtype:
    """What to compute in when nobody says: the checkpoint's own format where the device has it.

    torch multiplies bfloat16 only on newer CPUs; compiled `kernels` do on older ones, too, as fast
    as float32, with half of the memory to read. Weights that stay in the caches gain nothing:
    float32 is more exact there and nearly as fast.
    """
    if device.type != "cpu":
        return saved
    gains = saved == torch.bfloat16 and not stays_in_cache(weight_bytes)
    fast = kernels or torch.cpu._is_avx512_bf16_supported()
    return saved if gains and fast else torch.float32


def _cgroup_limit(path: Path) -> int:
    """Whole processors of a container's quota; more threads than that only wait for each other."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return 2**16
    return 2**16 if quota == "max" else max(1, int(quota) // int(period))


def free_bytes(device: torch.device, fraction: float) -> float:
    """Bytes that the cache may take: `fraction` of what is free now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free * fraction
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") * fraction
