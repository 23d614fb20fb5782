"""The compiled norm against its formula."""

from __future__ import annotations

import pytest
import torch

from engine.native.kernels import Kernels


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("size", [16, 256, 2048])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_equals_the_formula(
    kernels: Kernels, rows: int, size: int, dtype: torch.dtype, near: float
) -> None:
    x, gain = random(rows, size).to(dtype), random(size).to(dtype)
    exact = x.double()
    want = exact / (exact.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain.double()
    got = kernels.rms_norm(x, gain, 1e-5)
    torch.testing.assert_close(got.double(), want, atol=near, rtol=near)


def test_rows_are_alike_whatever_stands_beside_them(kernels: Kernels) -> None:
    x, gain = random(513, 256), random(256)
    whole = kernels.rms_norm(x, gain, 1e-5)
    for rows in (1, 3, 64):
        assert torch.equal(kernels.rms_norm(x[:rows].contiguous(), gain, 1e-5), whole[:rows])
