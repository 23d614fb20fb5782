"""When kernels are compiled, and when torch is left to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.native import build

needs_compiler = pytest.mark.skipif(build.built_library() is None, reason="needs a C++ compiler")


@needs_compiler
def test_the_second_time_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = tmp_path / "short.cpp", tmp_path / "cache"
    source.write_text("int answer() { return 42; }")
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setenv(build.CACHE_VARIABLE, str(cache))
    made = build.built_library()
    assert made is not None and made.parent == cache
    written = made.stat().st_mtime_ns
    assert build.built_library() == made and made.stat().st_mtime_ns == written
    assert list(cache.iterdir()) == [made]


def test_without_a_compiler_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.built_library() is None


@needs_compiler
def test_a_compiler_that_fails_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path))
    source = tmp_path / "broken.cpp"
    source.write_text("this is no C++")
    monkeypatch.setattr(build, "SOURCE", source)
    assert build.built_library() is None
    assert "could not be compiled" in caplog.text
