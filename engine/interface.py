"""What a server may ask of an engine: the seam between HTTP and everything else.

`EngineClient` is the real one; tests put a scripted one in its place. Knows no implementation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from engine.types import EngineStats, GenerationRequest, ModelCard, Prompt, TextDelta


class Engine(Protocol):
    """Text in, text out. All methods belong to one event loop; `encode` alone may be called from
    any thread, as a long prompt takes its time."""

    @property
    def phase(self) -> str:
        """`ready`, or what the engine is busy with: `loading weights`, `restarting`, ..."""
        ...

    @property
    def model(self) -> ModelCard:
        """The served model. Raises `EngineUnavailable` until the engine was ready once."""
        ...

    @property
    def stats(self) -> EngineStats:
        """Gauges and totals as of the last engine step."""
        ...

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt, never empty: an empty text becomes the document separator.

        Raises:
            EngineUnavailable: still loading.
            InvalidParameter: an id is outside the vocabulary, or the template refuses.
        """
        ...

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Text of ids, special tokens included."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of one token; a special token gives its name's bytes."""
        ...

    def is_special(self, token_id: int) -> bool:
        """Whether the id is a special (control) token."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncIterator[TextDelta]:
        """Submit at once and return the sample's deltas; the last one has a finish reason.

        Deltas that arrive while the caller is busy are merged into one. Raises, on the call:
            EngineUnavailable, ContextLengthExceeded, InvalidParameter (ids in the parameters);
        and while iterating:
            InvalidParameter: the grammar cannot be compiled, which comes before the first delta;
                or later, where it gets too complex to follow, or allows none of the allowed ids.
            EngineFault: the engine failed under this request.
        """
        ...

    def abort(self, request_id: str) -> None:
        """Forget a request and free what it holds. Never awaits; unknown ids are ignored."""
        ...

    async def start(self) -> None:
        """Begin loading and return without waiting for it. Harmless when repeated."""
        ...

    async def stop(self) -> None:
        """End the engine process. Open requests fail with `EngineFault`."""
        ...
