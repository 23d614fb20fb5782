"""Requests do not wait for kernels: what they commonly need is compiled before the first."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.compiled_kernels import run_uninterpreted
from tests.tiny_models import Family, make_tiny_model


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe", "gpt_oss", "gemma2"])
def test_nothing_is_left_to_compile_after_the_start(family: Family, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path, family, max_position_embeddings=8192)
    late = run_uninterpreted("tests.engine.execution.note_late_kernels", str(model))
    assert late.split() == []
