"""Kernels compiled beforehand for levels of x86-64 processors, for images that have no compiler.

Knows the levels, what a processor must say of itself to run one, and where the libraries lie: in
the folder that `DIGLOT_NATIVE_PREBUILT` names. `engine.native.prebuild` makes them.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from engine.native.processor import MATRIX_UNITS, processor_flags

FOLDER_VARIABLE = "DIGLOT_NATIVE_PREBUILT"
_LEVEL_3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_LEVEL_4 = _LEVEL_3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_BF16 = ("-march=x86-64-v4", "-mavx512bf16")
LEVELS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "v4-amx": (
        (*_BF16, "-mamx-tile", "-mamx-bf16"),
        _LEVEL_4 | {"avx512_bf16"} | MATRIX_UNITS,
    ),
    "v4-bf16": (_BF16, _LEVEL_4 | {"avx512_bf16"}),
    "v4": (("-march=x86-64-v4",), _LEVEL_4),
    "v3": (("-march=x86-64-v3",), _LEVEL_3),
}
"""By name, best first: the compiler's flags, and the flags of /proc/cpuinfo that are needed."""


def prebuilt_library() -> Path | None:
    """The best of the prebuilt libraries for this processor; None where there is none."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    level = best_level(processor_flags())
    path = None if level is None else library_path(Path(folder), level)
    return path if path is not None and path.exists() else None


def best_level(flags: Collection[str]) -> str | None:
    """The best level for a processor with these flags."""
    return next((name for name, (_, needed) in LEVELS.items() if needed <= set(flags)), None)


def library_path(folder: Path, level: str) -> Path:
    """Where the library of a level lies."""
    return folder / f"kernels-{level}.so"
