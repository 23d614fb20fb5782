"""Sizes that decode steps are padded to."""

from __future__ import annotations

import pytest
import torch

from engine.execution.decode_steps import DecodeSteps, decode_sizes


@pytest.mark.parametrize("most", [1, 3, 8, 60, 100, 256, 1000])
def test_no_step_is_padded_by_much(most: int) -> None:
    sizes = decode_sizes(most)
    assert sizes == sorted(set(sizes)) and sizes[-1] == most
    steps = DecodeSteps(lambda layout: torch.zeros(0), most, capture=False)
    for count in range(1, most + 1):
        padded = steps.padded(count)
        assert count <= padded <= most
        assert padded - count < max(count, 8) and padded - count <= 31
