"""Compiles the kernels for this machine, once: the result is kept in the user's cache.

Knows compilers and where torch keeps its OpenMP. Where there is no compiler there may be prebuilt
kernels; where there are none either it says nothing: the torch operations that the kernels stand in
for are always there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from engine.native.prebuilt import prebuilt_library
from engine.native.processor import MATRIX_UNITS, processor_flags

SOURCE = Path(__file__).with_name("kernels.cpp")
CACHE_VARIABLE = "DIGLOT_NATIVE_CACHE"
_COMPILERS = ("c++", "g++", "clang++")
_NATIVE = ("-march=native",)
_NO_MATRIX_UNITS = ("-mno-amx-tile", "-mno-amx-bf16", "-mno-amx-int8")
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-Wno-psabi")
_SECONDS = 120

log = logging.getLogger(__name__)


def built_library(head_dim: int | None = None) -> Path | None:
    """The compiled kernels, from the cache, made now, or prebuilt; None where there are none.

    For heads of one size they are made in a third of the time; None makes them for all sizes.
    """
    if platform.system() != "Linux":
        return None
    tools = _tools()
    if tools is None:
        return prebuilt_library()
    compiler, openmp = tools
    flags = native_flags(matrix_units=processor_flags() >= MATRIX_UNITS)
    if head_dim is not None:
        flags = (*flags, f"-DDIGLOT_HEAD_DIM={head_dim}")
    target = _cache() / f"kernels-{_key(compiler, flags, openmp)}.so"
    if target.exists():
        return target
    try:
        _compile(compiler, flags, openmp, target)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("the CPU kernels could not be compiled, torch does their work: %s", error)
        return None
    return target


def can_be_built() -> bool:
    """Whether `built_library` can be expected to have them, by what is seen without making any."""
    if platform.system() != "Linux":
        return False
    return _tools() is not None or prebuilt_library() is not None


def compile_library(target: Path, flags: tuple[str, ...]) -> None:
    """Compile the kernels for heads of all sizes, for the processors that `flags` name.

    Raises:
        FileNotFoundError: there is no compiler, or torch came without OpenMP.
        subprocess.SubprocessError: the compiler failed.
    """
    tools = _tools()
    if tools is None:
        raise FileNotFoundError("a C++ compiler and torch's OpenMP are needed")
    compiler, openmp = tools
    _compile(compiler, flags, openmp, target)


def native_flags(*, matrix_units: bool) -> tuple[str, ...]:
    """The compiler's flags for this processor, with or without its matrix units (AMX).

    The compiler sees units that this process may have been refused.
    """
    there = "amx_tile" in Path("/proc/cpuinfo").read_text()
    return (*_NATIVE, *_NO_MATRIX_UNITS) if there and not matrix_units else _NATIVE


def _compile(compiler: str, flags: tuple[str, ...], openmp: Path, target: Path) -> None:
    """Into a file of another name first: others may be at the same work."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [compiler, *_FLAGS, *flags, "-fopenmp", str(SOURCE), "-o", str(made)]
        # torch's own OpenMP, so that both have one pool of threads; not the compiler's.
        command += [f"-L{openmp.parent}", f"-l:{openmp.name}", f"-Wl,-rpath,{openmp.parent}"]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        made.replace(target)


def _tools() -> tuple[str, Path] | None:
    """A compiler and torch's OpenMP, if both are there."""
    compiler, openmp = _compiler(), _openmp()
    return None if compiler is None or openmp is None else (compiler, openmp)


def _compiler() -> str | None:
    return next((path for name in _COMPILERS if (path := shutil.which(name))), None)


def _openmp() -> Path | None:
    folder = Path(torch.__file__).parent / "lib"
    return next(iter(sorted(folder.glob("libgomp*.so*"))), None)


def _cache() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "diglot"


def _key(compiler: str, flags: tuple[str, ...], openmp: Path) -> str:
    """Changes with the source, the compiler and its flags, the processor and torch."""
    digest = hashlib.sha256(SOURCE.read_bytes())
    for header in sorted(SOURCE.parent.glob("*.h")):
        digest.update(header.read_bytes())
    info = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    processor = [line for line in info if line.startswith(("flags", "Features", "model name"))]
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=_SECONDS)
    for part in (*_FLAGS, *flags, *processor, str(openmp), torch.__version__):
        digest.update(part.encode())
    digest.update(version.stdout)
    return digest.hexdigest()[:24]
