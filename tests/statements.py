"""The numbered statements of the wire contracts, and the tests that are named for them.

`test_f12_f13_...` holds statements 12 and 13 of the OpenAI contract, `test_g4_...` one of Gemini's.
`python -m tests.statements` prints the list.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent
COUNTS = {"f": 88, "g": 70}
WITHOUT = {
    "f63": "embeddings are not offered",
    "f64": "embeddings are not offered",
    "f84": "benchmark clients are run by hand: too large for the tests' environments",
    "g56": "embeddings are not offered",
}
"""Statements that no test holds, and why."""

_TEST = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)
_NUMBER = re.compile(r"_([fg])(\d+)(?=_|$)")
_RANGE = re.compile(r"_([fg])(\d+)_to_[fg](\d+)(?=_|$)")


def tests_by_statement() -> Mapping[str, list[str]]:
    """Statement (`f12`) -> `path::test` of every test that is named for it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(ROOT.rglob("test_*.py")):
        for name in _TEST.findall(path.read_text(encoding="utf-8")):
            for statement in _statements(name):
                found[statement].append(f"{path.relative_to(ROOT.parent)}::{name}")
    return found


def against_a_process(tests: list[str]) -> list[str]:
    """Those of the tests that talk to a real server process."""
    return [test for test in tests if test.startswith(("tests/e2e/", "tests/clients/"))]


def all_statements() -> list[str]:
    """`f1` to the last `g`."""
    return [f"{kind}{n}" for kind, count in COUNTS.items() for n in range(1, count + 1)]


def _statements(name: str) -> Iterator[str]:
    for kind, number in _NUMBER.findall(name):
        yield f"{kind}{int(number)}"
    for kind, first, last in _RANGE.findall(name):
        for number in range(int(first) + 1, int(last)):
            yield f"{kind}{number}"


def main() -> None:
    """Print the list."""
    found = tests_by_statement()
    for statement in all_statements():
        tests = against_a_process(found.get(statement, [])) or found.get(statement, [])
        held = ", ".join(tests) if tests else f"none: {WITHOUT[statement]}"
        sys.stdout.write(f"{statement.upper()}  {held}\n")


if __name__ == "__main__":
    main()
