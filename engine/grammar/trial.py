"""A process that tries grammars out, so that none can harm the engine.

A few hundred bytes of schema can ask for minutes of work or gigabytes of memory, or nest deep
enough to overflow the compiler's stack, which ends a process; and a thread that compiles cannot
be stopped. So each grammar is first compiled in a fork of this process, which the kernel ends at
its limits. What passes here is safe to compile in the engine.

Reads frames from standard input and writes frames to standard output: first a `TokenTable`, then
a lowered grammar for every verdict. A verdict is a reason to refuse, or empty. Ends with its
input. Knows nothing of requests.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import msgspec
from llguidance import LLTokenizer

from engine.grammar.exact_encoding import LongestMatch
from engine.grammar.matcher import compile_matcher, complaint
from engine.grammar.stack import TRIAL_STACK, new_threads_have
from engine.grammar.token_table import TokenTable

CPU_SECONDS = 1.0  # an honest schema of a hundred kilobytes takes a tenth of that
MEMORY_BYTES = 192 * 2**20  # beside what the process has when it starts
NICENESS = 5

TOO_SLOW = "takes too long to compile."
TOO_LARGE = "is too large to compile."


def main() -> int:
    """Give verdicts until the input ends."""
    os.nice(NICENESS)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    frame = read_frame(source)
    if frame is None:
        return 0
    table = msgspec.msgpack.decode(frame, type=TokenTable)
    tokenizer = table.llguidance_tokenizer(LongestMatch(table))
    while (frame := read_frame(source)) is not None:
        write_frame(sink, _verdict(tokenizer, frame.decode()).encode())
    return 0


def read_frame(source: IO[bytes]) -> bytes | None:
    """The next frame; None at the end."""
    head = source.read(4)
    size = int.from_bytes(head, "big")
    frame = source.read(size)
    return frame if len(head) == 4 and len(frame) == size else None


def write_frame(sink: IO[bytes], frame: bytes) -> None:
    """Send one frame."""
    sink.write(len(frame).to_bytes(4, "big") + frame)
    sink.flush()


def _verdict(tokenizer: LLTokenizer, lowered: str) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _try(tokenizer, lowered, writer)
    os.close(writer)
    with open(reader, "rb") as said:
        reason = said.read().decode()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return reason if os.WEXITSTATUS(status) == 0 else TOO_LARGE
    return TOO_SLOW if os.WTERMSIG(status) == signal.SIGPROF else TOO_LARGE


def _try(tokenizer: LLTokenizer, lowered: str, writer: int) -> None:
    """In the fork: compile within the limits, tell the complaint, end."""
    status = 1
    try:
        _limit()
        with new_threads_have(TRIAL_STACK), ThreadPoolExecutor(1) as pool:
            matcher = pool.submit(compile_matcher, tokenizer, lowered).result()
        os.write(writer, complaint(matcher).encode())
        status = 0
    finally:
        os._exit(status)


def _limit() -> None:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    sizes = Path("/proc/self/statm")
    if sizes.exists():  # elsewhere the limit on the time must do
        most = int(sizes.read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(main())
