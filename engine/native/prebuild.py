"""Compiles the kernels of all levels of processors into a folder, for images.

    python -m engine.native.prebuild FOLDER

The libraries name torch's OpenMP by its path, so torch must not move afterwards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.native.build import compile_library
from engine.native.prebuilt import LEVELS, library_path


def main(folder: Path) -> None:
    """Raises `OSError` or `subprocess.SubprocessError` where they cannot be compiled."""
    for level, (flags, _) in LEVELS.items():
        compile_library(library_path(folder, level), flags)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
