"""The kernels compile for a card that need not be there, and fit it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.compiled_kernels import SHARED_BYTES, compiled_by


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    kernels = compiled_by("tests.engine.attention.compile_kernels", tmp_path)
    names = [name for name, _, _ in kernels]
    assert set(names) == {
        "_store_kernel",
        "attend_kernel",
        "_reduce_kernel",
        "_reduce_in_order_kernel",
    }
    # A layer of four takes one for decodes and one for chunks, in either mode; but one for both in
    # float32 where bits must not tell.
    assert names.count("attend_kernel") == 4 * 2 + 3 * 2 + 1
    for name, shared, tensor_cores in kernels:
        assert shared <= SHARED_BYTES
        assert tensor_cores == (name == "attend_kernel")
