"""The compiled kernels, where there is a compiler."""

from __future__ import annotations

import pytest

from engine.native.build import built_library
from engine.native.kernels import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    library = built_library()
    if library is None:
        pytest.skip("needs a C++ compiler")
    return Kernels(library)
