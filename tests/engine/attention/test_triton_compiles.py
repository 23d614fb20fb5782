"""The kernels compile for a card that need not be there, and fit it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.compiled_kernels import compiled_by


@pytest.mark.parametrize("capability", ["89", "90"])
def test_kernels_compile(capability: str, tmp_path: Path) -> None:
    kernels = compiled_by("tests.engine.attention.compile_kernels", tmp_path, capability)
    names = [name for name, _, _ in kernels]
    assert set(names) == {
        "_store_kernel",
        "attend_kernel",
        "_reduce_kernel",
        "_reduce_in_order_kernel",
    }
    # A layer of seven takes one for decodes and one for chunks, in either mode; but one for both in
    # float32 where bits must not tell.
    assert names.count("attend_kernel") == 7 * 2 + 6 * 2 + 1
    for name, _, tensor_cores in kernels:
        assert tensor_cores == (name == "attend_kernel")
