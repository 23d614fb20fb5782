"""What is chosen for a machine when nobody says."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from engine.execution.machine import default_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TINY, LARGE = 13 * 2**20, 2**30


@pytest.mark.parametrize("multiplies", [True, False])
@pytest.mark.parametrize("kernels", [True, False])
def test_default_dtype(multiplies: bool, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: multiplies)
    chosen = partial(default_dtype, kernels=kernels)
    fast = torch.bfloat16 if multiplies or kernels else torch.float32
    assert chosen(torch.bfloat16, LARGE, CPU) == fast
    assert chosen(torch.bfloat16, TINY, CPU) == torch.float32
    assert chosen(torch.float16, LARGE, CPU) == torch.float32
    assert chosen(torch.float32, LARGE, CPU) == torch.float32
    for saved in (torch.float32, torch.bfloat16, torch.float16):
        assert chosen(saved, LARGE, CUDA) == saved
