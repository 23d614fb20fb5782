"""Which model and verb a path means."""

from __future__ import annotations

import pytest

from server.gemini.paths import Target, bare_model_id, parse_call, parse_resource


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v1beta/models/qwen3:8b:generateContent", "qwen3:8b", "v1beta"),
        ("/v1beta/models/Qwen/Qwen3-8B:generateContent", "Qwen/Qwen3-8B", "v1beta"),
        ("/v1beta/Qwen/Qwen3-8B:generateContent", "Qwen/Qwen3-8B", "v1beta"),
        ("/models/good:generateContent", "good", "v1beta"),
        ("/good:generateContent", "good", "v1beta"),
        ("/v1/models/good:generateContent", "good", "v1"),
        ("/v1alpha/models/good:generateContent", "good", "v1alpha"),
        ("/v1/tunedModels/good:generateContent", "good", "v1"),
        ("/v1beta/dynamic/good:generateContent", "good", "v1beta"),
    ],
)
def test_g3_g4_the_model_is_all_between_the_prefixes_and_the_last_colon(
    path: str, model: str, version: str
) -> None:
    assert parse_call(path) == Target(model, "generateContent", version)


def test_an_empty_model_or_verb_stays_empty() -> None:
    assert parse_call("/v1beta/models/:generateContent").model == ""
    assert parse_call("/v1beta/models/m:").verb == ""


def test_a_resource_keeps_its_colons() -> None:
    assert parse_resource("/v1alpha/models/a/b:c") == Target("a/b:c", "", "v1alpha")


def test_only_known_collections_are_stripped() -> None:
    assert bare_model_id("models/models-of-me/x") == "models-of-me/x"
    assert bare_model_id("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/projects/p/locations/l/publishers/google/models/m:generateContent", "m"),
        ("/v1beta1/projects/p/locations/l/publishers/Qwen/models/Qwen3:x", "Qwen/Qwen3"),
        ("/v1beta1/publishers/google/models/qwen3:8b:generateContent", "qwen3:8b"),
        ("/v1/projects/p/locations/l/endpoints/m:generateContent", "m"),
    ],
)
def test_vertex_paths_are_calls(path: str, model: str) -> None:
    assert parse_call(path).model == model
