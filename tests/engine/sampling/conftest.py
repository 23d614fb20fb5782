"""Both samplers that run on a CPU: the stages in torch, and the compiled kernels."""

from __future__ import annotations

import pytest

from engine.native.build import built_library
from engine.native.kernels import Kernels
from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import Sampler


@pytest.fixture(params=["torch", "native"])
def sampler(request: pytest.FixtureRequest) -> Sampler | NativeSampler:
    if request.param == "torch":
        return Sampler()
    library = built_library()
    if library is None:
        pytest.skip("needs a C++ compiler")
    return NativeSampler(Kernels(library))
