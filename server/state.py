"""What every route needs, in one frozen bundle. Knows nothing of dialects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from engine import (
    ChatPrompt,
    Engine,
    EngineUnavailable,
    ModelCard,
    ModelNotFound,
    Prompt,
    SamplingParams,
    TextPrompt,
)
from server.admission import Admission
from server.generation import Generation
from server.metrics import Metrics
from server.settings import ServerSettings
from server.unknown_fields import UnknownFields

_LONG_PROMPT = 4096
"""Characters. What is shorter takes about a millisecond at most; a thread costs a tenth of one."""


@dataclass(frozen=True)
class AppState:
    """The app's parts: the engine, what the operator chose, the door, the instruments, and
    what becomes of unknown fields."""

    engine: Engine
    settings: ServerSettings
    admission: Admission
    metrics: Metrics
    unknown_fields: UnknownFields

    def card(self, name: str) -> ModelCard:
        """The model served under `name`.

        Raises:
            ModelNotFound: no such name.
            EngineUnavailable: loading, restarting or draining.
        """
        if name not in self.settings.all_names:
            raise ModelNotFound(name)
        self.check_ready()
        return self.engine.model

    def check_ready(self) -> None:
        """Raises `EngineUnavailable` unless new work can be taken."""
        if self.admission.closed is not None:
            raise EngineUnavailable(self.admission.closed, retry_after=10)
        if self.engine.phase != "ready":
            raise EngineUnavailable(self.engine.phase)

    async def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """`Engine.encode`, in a thread when the prompt is long: open streams go on meanwhile."""
        if _letters(prompt) < _LONG_PROMPT:
            return self.engine.encode(prompt)
        return await asyncio.to_thread(self.engine.encode, prompt)

    def generation(
        self,
        prompts: Sequence[tuple[int, ...]],
        params: SamplingParams,
        *,
        request_id: str,
        dialect: str,
        n: int = 1,
        want_tokens: bool = False,
    ) -> Generation:
        """A generation behind the door and under the instruments, not yet started."""
        return Generation(
            self.engine,
            prompts,
            params,
            n=n,
            want_tokens=want_tokens,
            request_id=request_id,
            admission=self.admission,
            metrics=self.metrics,
            dialect=dialect,
        )


def _letters(prompt: Prompt) -> int:
    """How long a text there is to tokenize, about."""
    if isinstance(prompt, TextPrompt):
        return len(prompt.text)
    if isinstance(prompt, ChatPrompt):
        contents = (message.get("content") for message in prompt.messages)
        return sum(len(content) for content in contents if isinstance(content, str))
    return 0


def create_state(engine: Engine, settings: ServerSettings) -> AppState:
    """The bundle for one app."""
    samples = settings.max_num_sequences + settings.max_queued_requests
    admission = Admission(samples, settings.max_queued_tokens)
    unknown_fields = UnknownFields(strict=settings.strict_fields)
    return AppState(engine, settings, admission, Metrics(engine, admission), unknown_fields)
