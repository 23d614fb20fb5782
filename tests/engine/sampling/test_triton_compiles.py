"""The sampler's kernels compile for a card and fit it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.compiled_kernels import compiled_by


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    kernels = compiled_by("tests.engine.sampling.compile_kernels", tmp_path)
    assert {kernel.name for kernel in kernels} == {
        "_best_kernel",
        "_collect_kernel",
        "_draw_kernel",
        "_search_kernel",
        "_shape_kernel",
        "_sum_kernel",
        "_survey_kernel",
        "_window_kernel",
        "_total_kernel",
    }
