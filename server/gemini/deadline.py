"""The caller's own time limit, sent as `X-Server-Timeout`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from engine import DeadlineExceeded

T = TypeVar("T")


class Deadline:
    """A moment `seconds` from now; None is never. Belongs to the running event loop."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._at = None if seconds is None else self._loop.time() + seconds

    @property
    def set(self) -> bool:
        """Whether there is such a moment."""
        return self._at is not None

    async def keep(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`.

        Raises:
            DeadlineExceeded: the moment came first; the work is cancelled or was not begun.
        """
        if self._at is None or self._seconds is None:
            return await work()
        if self._loop.time() >= self._at:
            raise DeadlineExceeded(self._seconds)
        try:
            async with asyncio.timeout_at(self._at):
                return await work()
        except TimeoutError:
            raise DeadlineExceeded(self._seconds) from None


def parse_timeout(header: str | None) -> float | None:
    """Seconds from the header's value; None when it is absent or says nothing sensible."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None
