"""Keeps tokenized documents on disk, so that a run resumes, or starts elsewhere, at once.

Knows one file of arrays: the ids of all documents end to end, and where each begins. Does not
know how text became ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.default_model.training.chat import Tokens


def save_tokens(sources: Mapping[str, list[Tokens]], path: Path) -> None:
    """Writes all sources into one compressed file."""
    arrays: dict[str, np.ndarray] = {}
    for name, documents in sources.items():
        arrays[f"{name}/ids"] = np.concatenate([t.ids for t in documents] or [np.zeros(0, "u2")])
        arrays[f"{name}/own"] = np.concatenate([t.own for t in documents] or [np.zeros(0, "?")])
        arrays[f"{name}/ends"] = np.cumsum([len(t.ids) for t in documents])
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **arrays)
    partial.replace(path)


def load_tokens(path: Path) -> dict[str, list[Tokens]]:
    """The sources as they were saved."""
    with np.load(path, allow_pickle=False) as arrays:
        names = dict.fromkeys(key.split("/")[0] for key in arrays.files)
        return {
            name: _documents(arrays[f"{name}/ids"], arrays[f"{name}/own"], arrays[f"{name}/ends"])
            for name in names
        }


def _documents(ids: np.ndarray, own: np.ndarray, ends: np.ndarray) -> list[Tokens]:
    cuts = ends[:-1].astype(np.int64)
    pieces = zip(np.split(ids, cuts), np.split(own, cuts), strict=True)
    return [Tokens(i, o) for i, o in pieces if len(i)]
