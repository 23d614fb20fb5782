"""Reading the small text files of a model directory.

Knows how a missing or broken file is reported; does not know what any of them means.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from engine.errors import ModelLoadError

T = TypeVar("T")


def read_text(path: Path) -> str:
    """The file's text. Raises `ModelLoadError` when it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelLoadError(f"Cannot read {path}: {error}") from error


def read_json(path: Path, kind: type[T]) -> T:
    """The file's JSON as `kind`. Raises `ModelLoadError` when it is not that."""
    try:
        return msgspec.json.decode(read_text(path), type=kind)
    except msgspec.DecodeError as error:  # a ValidationError is one too
        raise ModelLoadError(f"Cannot use {path}: {error}") from error
