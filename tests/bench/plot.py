"""Draws the README's picture: how many times as fast as each peer the engine is, from the results.

    python -m tests.bench.plot RESULTS.jsonl > tests/bench/results/summary.svg

Reads lines of `tests.bench.engine`; of a case that stands there twice, the later one. Knows nothing
of how they were measured.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

LABELS, SCALE, BAR, GAP = 250, 110, 14, 5  # pixels; SCALE is the length of a ratio of 1
MOST = 4.5  # a longer bar is cut, its number is not
COLOURS = {"llama.cpp": "#4c78a8", "transformers": "#b0b7bf"}

Row = tuple[str, dict[str, float]]


def rows(lines: list[dict[str, Any]]) -> list[Row]:
    """A label and the ratio to each peer, per model, precision, batch size and phase."""
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        for model, batches in line.get("models", {}).items():
            for batch, figures in batches.items():
                for phase in ("decode", "prefill"):
                    label = f"{model} {line['dtype']}, {batch}, {phase}"
                    for peer, ratio in figures.get("ratio", {}).items():
                        found.setdefault(label, {})[peer] = ratio[phase]
    return sorted(found.items(), key=lambda row: _natural(row[0]))


def _natural(label: str) -> list[tuple[int, str]]:
    """For sorting: numbers by their size."""
    return [(int(n or 0), text) for text, n in re.findall(r"(\D*)(\d*)", label)]


def picture(table: list[Row]) -> str:
    """The bars as SVG, with a line where both are equally fast."""
    height = GAP
    parts: list[str] = []
    for label, ratios in table:
        middle = height + len(ratios) * BAR / 2 + 4
        parts.append(
            f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>'
        )
        for peer in COLOURS:
            if peer in ratios:
                parts += _bar(height, ratios[peer], COLOURS[peer])
                height += BAR
        height += GAP
    width = LABELS + int(MOST * SCALE) + 50
    one = LABELS + SCALE
    line = f'<line x1="{one}" y1="0" x2="{one}" y2="{height}" stroke="#e45756"/>'
    legend = "".join(_legend(n, peer, height + 16) for n, peer in enumerate(COLOURS))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 28}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join([head, *parts, line, legend, "</svg>"]) + "\n"


def _bar(top: float, ratio: float, colour: str) -> list[str]:
    length = min(ratio, MOST) * SCALE
    return [
        f'<rect x="{LABELS}" y="{top}" width="{length:.0f}" height="{BAR - 2}" fill="{colour}"/>',
        f'<text x="{LABELS + length + 4:.0f}" y="{top + BAR - 4}">{ratio:.2f}</text>',
    ]


def _legend(number: int, peer: str, y: float) -> str:
    x = LABELS + number * 170
    square = f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{COLOURS[peer]}"/>'
    return f'{square}<text x="{x + 14}" y="{y}">times {escape(peer)}</text>'


def main() -> None:
    """Command line."""
    lines = [
        json.loads(line)
        for path in sys.argv[1:]
        for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]
    table = rows([line for line in lines if line["bench"] == "engine"])
    sys.stdout.write(picture(table))


if __name__ == "__main__":
    main()
