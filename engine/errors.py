"""Everything the engine can refuse or suffer, as types.

    EngineError
    ├── InvalidRequest            the caller's fault; names the parameter
    │   ├── InvalidParameter      one value is out of range or malformed
    │   ├── UnsupportedParameter  known, but this server does not offer it
    │   └── ContextLengthExceeded prompt (plus wanted tokens) does not fit
    ├── ModelNotFound             no model of that name is served
    ├── ModelLoadError            the model's files cannot be served as they are
    ├── Overloaded                the queue is full; come back later
    ├── EngineUnavailable         loading, draining, or restarting
    ├── DeadlineExceeded          the caller's own time limit ran out
    └── EngineFault               our fault: the engine died or a step failed

Knows nothing of HTTP: each dialect maps these types to its own statuses in one table.
"""

from __future__ import annotations


class EngineError(Exception):
    """Root of all errors that cross the engine's public face."""


class InvalidRequest(EngineError):
    """The request cannot be honoured as sent.

    `parameter` is the internal name of the offending field, or None when no single one is.
    """

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter


class InvalidParameter(InvalidRequest):
    """A value is malformed or out of range.

    `minimum` or `maximum` is set when the value crossed that bound.
    """

    def __init__(
        self,
        name: str,
        value: object,
        reason: str,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
    ) -> None:
        super().__init__(f"Invalid '{name}': {reason}", name)
        self.value = value
        self.reason = reason
        self.minimum = minimum
        self.maximum = maximum


class UnsupportedParameter(InvalidRequest):
    """A known field whose effect this server cannot deliver."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Unsupported parameter: '{name}' {reason}", name)
        self.reason = reason


class ContextLengthExceeded(InvalidRequest):
    """The prompt, or the prompt plus the wanted tokens, is longer than the context."""

    def __init__(
        self, limit: int, prompt_tokens: int, new_tokens: int, parameter: str = "prompt"
    ) -> None:
        super().__init__(
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{prompt_tokens + new_tokens} tokens ({prompt_tokens} in the prompt, {new_tokens} in "
            "the completion). Please reduce the length of the prompt or completion.",
            parameter,
        )
        self.limit = limit
        self.prompt_tokens = prompt_tokens
        self.new_tokens = new_tokens


class ModelNotFound(EngineError):
    """No model is served under this name."""

    def __init__(self, model: str) -> None:
        super().__init__(f"The model `{model}` does not exist or you do not have access to it.")
        self.model = model


class ModelLoadError(EngineError):
    """The model's files are missing, damaged, or ask for something that is not supported."""


class Overloaded(EngineError):
    """Admission is full. `retry_after` is in whole seconds, 1 to 60."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineUnavailable(EngineError):
    """The engine cannot take work now. `phase` says why (`loading weights`, `draining`, ...)."""

    def __init__(self, phase: str, retry_after: int = 2) -> None:
        super().__init__(f"The engine is not ready: {phase}.")
        self.phase = phase
        self.retry_after = retry_after


class DeadlineExceeded(EngineError):
    """The request ran past the time its caller allowed. `seconds` is that limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request did not finish within {seconds:g} seconds.")
        self.seconds = seconds


class EngineFault(EngineError):
    """The engine failed under a request. The message is safe to show; details are in the log."""
