"""The tensors of a model's directory, by name: safetensors, in one file or in shards.

Accounts for every tensor: what is asked for must be there, and what is there must be asked for.
Knows nothing of what the tensors mean. Other formats are refused: they can run code.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.errors import ModelLoadError

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = frozenset({torch.float32, torch.bfloat16, torch.float16})
_BYTES = frozenset({torch.uint8})


class Checkpoint:
    """Open weights files; a context manager. Tensors are read when taken, not before."""

    def __init__(self, model_dir: Path) -> None:
        """Open the files.

        Raises:
            ModelLoadError: no safetensors files, or unreadable ones.
        """
        self._stack = contextlib.ExitStack()
        self._file_of: dict[str, safe_open] = {}
        self._taken: set[str] = set()
        for path in _weight_files(model_dir):
            try:
                file = self._stack.enter_context(safe_open(path, framework="pt"))
            except (OSError, SafetensorError) as error:
                self._stack.close()
                raise ModelLoadError(f"Cannot read {path}: {error}.") from error
            for name in file.keys():  # noqa: SIM118 - not a dict
                if name in self._file_of:
                    self._stack.close()
                    raise ModelLoadError(f"Weights: {name} is in two files, {path.name} is one.")
                self._file_of[name] = file

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One tensor, on the CPU, in the dtype it was saved in.

        Raises:
            ModelLoadError: not there, of another shape, or not of a floating type.
        """
        return self._take(name, shape, _FLOATS)

    def take_bytes(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """As `take`, uint8."""
        return self._take(name, shape, _BYTES)

    def _take(self, name: str, shape: tuple[int, ...], dtypes: frozenset[torch.dtype]) -> Tensor:
        file = self._file_of.get(name)
        if file is None:
            raise ModelLoadError(f"Weights: {name} is missing.")
        tensor = file.get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise ModelLoadError(
                f"Weights: {name} is {list(tensor.shape)}, config.json asks for {list(shape)}."
            )
        if tensor.dtype not in dtypes:
            raise ModelLoadError(f"Weights: {name} is of type {tensor.dtype}, not supported.")
        self._taken.add(name)
        return tensor

    def not_taken(self) -> list[str]:
        """Names that nobody asked for, sorted."""
        return sorted(self._file_of.keys() - self._taken)


def _weight_files(model_dir: Path) -> list[Path]:
    single, index = model_dir / _SINGLE, model_dir / _INDEX
    if single.exists():
        return [single]
    if not index.exists():
        raise ModelLoadError(
            f"{model_dir} has no {_SINGLE} and no {_INDEX}; other formats are not supported."
        )
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelLoadError(f"Cannot read {index}: not an index of shards.") from error
    outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise ModelLoadError(f"{index} names files outside of the model's directory.")
    return sorted(model_dir / name for name in names)
