"""Stacks of a known size for new threads.

The compiler of grammars recurses, and a thread's default stack is whatever the system gives: 8 MB
here, 2 MB there. Knows nothing of grammars.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

TRIAL_STACK = 16 * 2**20
ENGINE_STACK = 2 * TRIAL_STACK
"""Bytes. Twice as much where an overflow would do harm as where it is found."""

_changing = threading.Lock()


@contextmanager
def new_threads_have(stack_bytes: int) -> Generator[None]:
    """Threads started inside have a stack of this size, also those that others start meanwhile."""
    with _changing:  # it is a setting of the whole process
        before = threading.stack_size(stack_bytes)
        try:
            yield
        finally:
            threading.stack_size(before)
