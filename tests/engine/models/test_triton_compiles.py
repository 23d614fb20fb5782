"""A decoder's small kernels, and those that make its inputs, compile for a card and fit it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.compiled_kernels import compiled_by


@pytest.mark.parametrize("capability", ["89", "90"])
def test_kernels_compile(capability: str, tmp_path: Path) -> None:
    kernels = compiled_by("tests.engine.models.compile_kernels", tmp_path, capability)
    assert {kernel.name for kernel in kernels} == {
        "_build_inputs",
        "_expert_product",
        "_expert_sum",
        "_linear",
        "_quantize_rows",
        "_record_draws",
        "_rms_norm",
        "_route",
        "_sort",
        "_gated",
        "_soft_cap",
        "_thin",
        "_update_blocks",
    }
    for kernel in kernels:
        if kernel.name not in {"_linear", "_expert_product"}:
            assert not kernel.tensor_cores
    assert any(kernel.tensor_cores for kernel in kernels)
