"""The compiled kernels, where there is a compiler, and the models that laws are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.native.build import built_library, compile_library, native_flags
from engine.native.kernels import Kernels
from engine.native.processor import MATRIX_UNITS, processor_flags
from tests.tiny_models import make_tiny_model


@pytest.fixture(scope="session", params=["native", "without matrix units"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Compiled for this processor, and again without the matrix units that it may have."""
    library = built_library()
    if library is None:
        pytest.skip("needs a C++ compiler")
    if request.param == "native":
        return Kernels(library)
    if not processor_flags() >= MATRIX_UNITS:
        pytest.skip("the same: this processor has none")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    compile_library(library, native_flags(matrix_units=False))
    return Kernels(library)


@pytest.fixture(
    scope="module", params=["llama", "qwen3", "gpt_oss", "gemma2", "llama without a compiler"]
)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A model; everything of its test is done with or without compiled kernels."""
    family = request.param.split()[0]
    folder = tmp_path_factory.mktemp(family)
    make_tiny_model(folder, family)
    with pytest.MonkeyPatch.context() as patch:
        if request.param != family:
            patch.setattr("engine.execution.cpu_kernels.built_library", lambda head_dim: None)
        yield folder
