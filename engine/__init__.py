"""The engine's public face: all that a server needs, and nothing that imports torch.

`EngineClient` is in `engine.client`; it is fetched when first asked for, so that code which only
needs the types does not open sockets or load tokenizers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config import EMBEDDED_MODEL, EngineConfig
from engine.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineError,
    EngineFault,
    EngineUnavailable,
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    UnsupportedParameter,
)
from engine.interface import Engine
from engine.sampling_params import MAX_LOGPROBS, Grammar, SamplingParams
from engine.types import (
    ChatPrompt,
    EngineStats,
    FinishReason,
    GenerationRequest,
    ModelCard,
    OutputToken,
    Prompt,
    TextDelta,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
)
from engine.version import __version__

if TYPE_CHECKING:
    from engine.client import EngineClient

__all__ = [
    "EMBEDDED_MODEL",
    "MAX_LOGPROBS",
    "ChatPrompt",
    "ContextLengthExceeded",
    "DeadlineExceeded",
    "Engine",
    "EngineClient",
    "EngineConfig",
    "EngineError",
    "EngineFault",
    "EngineStats",
    "EngineUnavailable",
    "FinishReason",
    "GenerationRequest",
    "Grammar",
    "InvalidParameter",
    "InvalidRequest",
    "ModelCard",
    "ModelNotFound",
    "OutputToken",
    "Overloaded",
    "Prompt",
    "SamplingParams",
    "TextDelta",
    "TextPrompt",
    "TokenLogprob",
    "TokenPrompt",
    "UnsupportedParameter",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "EngineClient":
        from engine.client import EngineClient

        return EngineClient
    raise AttributeError(f"module 'engine' has no attribute {name!r}")
