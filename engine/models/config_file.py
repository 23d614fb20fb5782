"""Typed reading of a model's JSON files, so that a wrong value is named instead of crashing later.

Knows JSON and types; knows nothing of what the keys mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from engine.errors import ModelLoadError

T = TypeVar("T", int, float, str, bool)


class ConfigFile:
    """One JSON object with typed access. JSON `null` counts as absent."""

    def __init__(self, values: Mapping[str, object], source: str) -> None:
        self._values = values
        self.source = source

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read `path`.

        Raises:
            ModelLoadError: no such file, or not a JSON object.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelLoadError(f"Cannot read {path}: {error.strerror}.") from error
        except ValueError as error:
            raise ModelLoadError(f"{path} is not valid JSON: {error}.") from error
        if not isinstance(values, dict):
            raise ModelLoadError(f"{path} does not hold a JSON object.")
        return cls(values, path.name)

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value of `key`, or None; an int is accepted where a float is wanted."""
        value = self._values.get(key)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if value is None or (isinstance(value, kind) and type(value) is kind):
            return value  # type: ignore[return-value]
        raise ModelLoadError(f"{self.source}: `{key}` should be {kind.__name__}, is {value!r}.")

    def get_or(self, key: str, default: T) -> T:
        """The value of `key`, or `default`, whose type it must have."""
        value = self.get(key, type(default))
        return default if value is None else value

    def need(self, key: str, kind: type[T]) -> T:
        """The value of `key`, which must be there."""
        value = self.get(key, kind)
        if value is None:
            raise ModelLoadError(f"{self.source}: `{key}` is missing.")
        return value

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.need(key, int) if default is None else self.get_or(key, default)
        if value < 1:
            raise ModelLoadError(f"{self.source}: `{key}` should be positive, is {value}.")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """A number above zero."""
        value = self.need(key, float) if default is None else self.get_or(key, default)
        if not value > 0:
            raise ModelLoadError(f"{self.source}: `{key}` should be positive, is {value}.")
        return value

    def section(self, key: str) -> ConfigFile | None:
        """A nested object, or None."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ModelLoadError(f"{self.source}: `{key}` should be an object, is {value!r}.")
        return ConfigFile(value, f"{self.source}: {key}")

    def need_section(self, key: str) -> ConfigFile:
        """A nested object, which must be there."""
        section = self.section(key)
        if section is None:
            raise ModelLoadError(f"{self.source}: `{key}` is missing.")
        return section

    def strings(self, key: str) -> tuple[str, ...] | None:
        """A list of strings, or None."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ModelLoadError(f"{self.source}: `{key}` should be a list of strings.")
        return tuple(value)

    def ids(self, key: str) -> tuple[int, ...] | None:
        """Token ids: one integer or a list of them; None when absent."""
        value = self._values.get(key)
        if value is None:
            return None
        ids = value if isinstance(value, list) else [value]
        if not all(type(item) is int for item in ids):
            raise ModelLoadError(f"{self.source}: `{key}` should be token ids, is {value!r}.")
        return tuple(item for item in ids if isinstance(item, int))

    def is_null(self, key: str) -> bool:
        """Whether `key` is written, as null: a few keys mean something else when absent."""
        return key in self._values and self._values[key] is None

    def keys(self) -> frozenset[str]:
        """Keys that hold something."""
        return frozenset(key for key, value in self._values.items() if value is not None)
