"""The door in front of the engine: how much may be open at once, in samples and prompt tokens.

A request that does not fit is refused at once and told when to return; nothing waits here. A
semaphore around the HTTP handler would not do: a stream outlives its handler. Knows nothing of
HTTP or of what a sample is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from engine import EngineUnavailable, InvalidRequest, Overloaded


class Ticket:
    """Room that one generation holds. Released once, however often `release` is called."""

    def __init__(self, admission: Admission, samples: int, tokens: int) -> None:
        self._admission: Admission | None = admission
        self._started = time.monotonic()
        self.samples = samples
        self.tokens = tokens

    def release(self) -> None:
        """Give the room back. Never awaits."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._leave(self, time.monotonic() - self._started)  # pyright: ignore[reportPrivateUsage]


class Admission:
    """Counts what is open and refuses what does not fit. Belongs to one event loop."""

    def __init__(self, max_samples: int, max_tokens: int) -> None:
        self._max_samples = max_samples
        self._max_tokens = max_tokens
        self._mean_seconds = 1.0  # how long a ticket is held, a moving average
        self._tickets = 0
        self._closed: str | None = None
        self._on_idle: Callable[[], None] | None = None
        self.samples = 0
        self.tokens = 0

    def admit(self, samples: int, tokens: int) -> Ticket:
        """Take room for `samples` that share prompts of `tokens` tokens in all.

        Raises:
            EngineUnavailable: the server is draining.
            InvalidRequest: the request alone is larger than the whole house.
            Overloaded: no room now.
        """
        if self._closed is not None:
            raise EngineUnavailable(self._closed, retry_after=10)
        self._check_size(samples, tokens)
        fits = (
            self.samples + samples <= self._max_samples and self.tokens + tokens <= self._max_tokens
        )
        if not fits:
            raise Overloaded("The server is at its limit of open requests.", self.retry_after)
        self.samples += samples
        self.tokens += tokens
        self._tickets += 1
        return Ticket(self, samples, tokens)

    @property
    def retry_after(self) -> int:
        """Whole seconds, 1 to 60, until one of the open requests should have ended."""
        return min(60, max(1, math.ceil(self._mean_seconds / max(1, self._tickets))))

    @property
    def closed(self) -> str | None:
        """Why nothing is admitted any more, or None."""
        return self._closed

    @property
    def idle(self) -> bool:
        """True when nothing is open."""
        return self._tickets == 0

    def close(self, phase: str, on_idle: Callable[[], None]) -> None:
        """Admit nothing from now on; call `on_idle` when (or if already) nothing is open."""
        self._closed = phase
        if self.idle:
            on_idle()
        else:
            self._on_idle = on_idle

    def _check_size(self, samples: int, tokens: int) -> None:
        """Waiting cannot help a request that is larger than the house: a 400, not a 429."""
        if samples > self._max_samples:
            raise InvalidRequest(
                f"The request asks for {samples} samples; this server takes at most "
                f"{self._max_samples} at once.",
                "n",
            )
        if tokens > self._max_tokens:
            raise InvalidRequest(
                f"The prompts have {tokens} tokens; this server takes at most "
                f"{self._max_tokens} at once.",
                "prompt",
            )

    def _leave(self, ticket: Ticket, seconds: float) -> None:
        self.samples -= ticket.samples
        self.tokens -= ticket.tokens
        self._tickets -= 1
        self._mean_seconds += 0.1 * (seconds - self._mean_seconds)
        if self.idle and self._on_idle is not None:
            on_idle, self._on_idle = self._on_idle, None
            on_idle()
