"""Weights of eight bits: near the model, part of its fingerprint, refused where not offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EngineFault
from engine.ipc import Submit
from engine.native.kernels import Kernels
from engine.sampling_params import SamplingParams
from tests.engine.laws import make_core, run
from tests.tiny_models import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model_of_experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("experts"), "qwen3_moe")


def test_experts_are_rounded_too(model_of_experts: Path, kernels: Kernels) -> None:
    del kernels  # only that there are any
    assert 0 < mean_error_of_scores(model_of_experts, "float32") < 0.05


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_are_near_those_of_the_model(model: Path, dtype: str, kernels: Kernels) -> None:
    del kernels  # only that there are any
    assert 0 < mean_error_of_scores(model, dtype) < 0.05


def mean_error_of_scores(model: Path, dtype: str) -> float:
    prompt = tuple((7 * n) % 251 for n in range(100))
    scoring = SamplingParams(max_new_tokens=0, prompt_logprobs=1)
    scores: list[list[float]] = []
    for quantization in (None, "int8"):
        core = make_core(model, dtype=dtype, quantization=quantization)
        [output] = run(core, [Submit("score", prompt, scoring)])["score"]
        assert output.prompt_logprobs is not None
        scores.append([entry.logprob for entry in output.prompt_logprobs if entry is not None])
    errors = [abs(a - b) for a, b in zip(*scores, strict=True)]
    return sum(errors) / len(errors)


def test_it_changes_the_fingerprint(model: Path, kernels: Kernels) -> None:
    del kernels
    cores = [make_core(model, quantization=quantization) for quantization in (None, "int8")]
    assert cores[0].model.fingerprint != cores[1].model.fingerprint


def test_it_is_refused_without_kernels(model: Path) -> None:
    with pytest.raises(EngineFault, match="--quantization int8 is offered"):
        make_core(model, quantization="int8", native_kernels=False)


def test_fp8_is_refused_without_a_gpu(model: Path) -> None:
    with pytest.raises(EngineFault, match="--quantization fp8 is offered on a GPU only"):
        make_core(model, quantization="fp8")
