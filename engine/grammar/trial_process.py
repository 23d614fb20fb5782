"""The engine's side of `trial`: starts the process, asks it, replaces it when it is gone.

Knows nothing of what a verdict is about.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import weakref
from collections.abc import Callable

import msgspec

from engine.errors import EngineFault
from engine.grammar.token_table import TokenTable
from engine.grammar.trial import read_frame, write_frame

_STARTS = 2  # per question


class TrialProcess:
    """One question at a time, from any thread. The process starts with the first one."""

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None

    def verdict(self, lowered: str) -> str:
        """Why the grammar must be refused; empty when it may be compiled.

        Raises:
            EngineFault: the process dies again and again. Grammars alone cannot make it.
        """
        for _ in range(_STARTS):
            try:
                answer = self._ask(lowered)
            except BrokenPipeError:
                answer = None
            if answer is not None:
                return answer.decode()
            self._end()
            self._process = None
        raise EngineFault("The process that tries grammars out does not stay alive.")

    def _ask(self, lowered: str) -> bytes | None:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        write_frame(process.stdin, lowered.encode())
        return read_frame(process.stdout)

    def _start(self) -> subprocess.Popen[bytes]:
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.grammar.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._end = weakref.finalize(self, _end, process)
        assert process.stdin is not None
        write_frame(process.stdin, msgspec.msgpack.encode(self._table))
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # what it did not read any more
                stream.close()
    process.wait()
