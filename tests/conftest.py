"""Fixtures that every test may use, and what holds where kernels are tested."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import pytest

# Read when torch is loaded. Tests run side by side: threads that spin while they wait for the rest
# of theirs take the processor from another test's.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined: before any import of one
    if find_spec("triton"):
        import_module("tests.quick_interpreter").make_quick()

TESTS_OF_KERNELS = ("test_triton_", "test_sampling_rows", "test_device_runner")


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def poisoned_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where kernels are tested, new tensors hold NaN, or the largest integer: what a kernel
    forgets to write, or reads before it is written, shows."""
    if not request.path.name.startswith(TESTS_OF_KERNELS):
        yield
        return
    # Fills what `torch.empty` and its like return. On a card some libraries would rather raise.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
