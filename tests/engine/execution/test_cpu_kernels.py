"""Whether compiled kernels can be expected to compute a model in bfloat16."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.execution import cpu_kernels, setup
from engine.native import build
from engine.native.prebuilt import LEVELS
from tests.tiny_models import make_tiny_model

HASWELL = LEVELS["v3"][1]
needs_compiler = pytest.mark.skipif(not build.can_be_built(), reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def a_large_model_on_haswell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(setup, "weight_bytes", lambda folder: 2**30)
    monkeypatch.setattr(cpu_kernels, "processor_flags", lambda: HASWELL)


def dtype_of(folder: Path, *, native_kernels: bool = True, **sizes: Any) -> torch.dtype:
    make_tiny_model(folder, "llama", torch_dtype="bfloat16", **sizes)
    config = EngineConfig(model=str(folder), device="cpu", native_kernels=native_kernels)
    return setup.resolve(config).dtype


@needs_compiler
def test_with_kernels_a_model_in_bfloat16_stays_so(tmp_path: Path) -> None:
    assert dtype_of(tmp_path) == torch.bfloat16


@needs_compiler
def test_heads_that_they_do_not_know_are_computed_in_float32(tmp_path: Path) -> None:
    assert dtype_of(tmp_path, head_dim=24) == torch.float32


def test_without_them_it_is_computed_in_float32(tmp_path: Path) -> None:
    assert dtype_of(tmp_path, native_kernels=False) == torch.float32


def test_without_a_compiler_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert dtype_of(tmp_path) == torch.float32


def test_on_an_older_processor_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "processor_flags", lambda: HASWELL - {"avx2", "fma"})
    assert dtype_of(tmp_path) == torch.float32
