"""What this machine's processor can do: its flags, and whether its matrix units may be used.

Knows how Linux tells and grants these; nothing of compilers.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path

MATRIX_UNITS = frozenset({"amx_tile", "amx_bf16"})
_ARCH_PRCTL = 158
_REQUEST_PERMISSION = 0x1023
_TILE_DATA = 18


@functools.cache
def processor_flags() -> frozenset[str]:
    """The flags of /proc/cpuinfo, without those of matrix units that this process may not use."""
    flags: frozenset[str] = frozenset()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            flags = frozenset(line.partition(":")[2].split())
            break
    return flags if not flags >= MATRIX_UNITS or _may_use_tiles() else flags - MATRIX_UNITS


def _may_use_tiles() -> bool:
    """Ask for the registers of the matrix units (AMX), which Linux gives on demand only.

    An instruction on them kills a process that was not given them.
    """
    if platform.machine() != "x86_64":
        return False
    asked = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)
    return asked == 0
