"""Kernels that were compiled beforehand: which of them a processor gets, and that they work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from engine.native import build, prebuilt
from engine.native.kernels import Kernels
from engine.native.packing import PackedWeights
from engine.native.processor import processor_flags

HASWELL = ["fpu", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"]
SKYLAKE = [*HASWELL, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (["fpu", "sse4_2", "avx"], None),
        (HASWELL, "v3"),
        (SKYLAKE, "v4"),
        ([*SKYLAKE, "avx512_bf16"], "v4-bf16"),
        ([*SKYLAKE, "avx512_bf16", "amx_tile"], "v4-bf16"),
        ([*SKYLAKE, "avx512_bf16", "amx_tile", "amx_bf16"], "v4-amx"),
        ([*HASWELL, "avx512_bf16"], "v3"),
    ],
)
def test_a_processor_gets_the_best_that_it_can_run(flags: list[str], level: str | None) -> None:
    assert prebuilt.best_level(flags) == level


def test_without_a_compiler_the_prebuilt_kernels_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = prebuilt.best_level(processor_flags())
    if build.built_library() is None or level is None:
        pytest.skip("needs a C++ compiler and a processor with AVX2")
    made = prebuilt.library_path(tmp_path, level)
    build.compile_library(made, prebuilt.LEVELS[level][0])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.built_library() is None, "none, unless the folder is named"
    monkeypatch.setenv(prebuilt.FOLDER_VARIABLE, str(tmp_path))
    assert build.built_library(head_dim=64) == made
    weight, x = torch.eye(32), torch.arange(64.0).view(2, 32)
    assert torch.equal(Kernels(made).linear(PackedWeights(weight, None).linear, x), x)
