"""Messages between the server process and the engine process, and their encoding.

Both ways msgpack (msgspec) over ZMQ pairs; one message per engine step, never per token, and no
pickle anywhere. Also where both ends meet. Knows nothing of scheduling or of HTTP.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.sampling_params import SamplingParams
from engine.types import EngineStats, FinishReason, ModelCard, TokenLogprob

CONFIG_VARIABLE = "DIGLOT_ENGINE_CONFIG"
SOCKETS_VARIABLE = "DIGLOT_ENGINE_SOCKETS"
"""Environment of the engine process: its EngineConfig as JSON, and the sockets' folder."""

TO_ENGINE, FROM_ENGINE = "to-engine", "from-engine"


def endpoint(folder: str | Path, name: str) -> str:
    """ZMQ address of one of the two sockets in `folder`."""
    return f"ipc://{Path(folder) / name}"


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """A new sample to generate."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """These requests are no longer wanted; unknown ids are ignored."""

    request_ids: tuple[str, ...]


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """Leave the loop. Open requests are dropped: draining is the server's business."""


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """A phase of start-up has begun."""

    phase: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The engine takes requests. `startup_seconds` maps each phase to its duration."""

    model: ModelCard
    startup_seconds: dict[str, float]
    stats: EngineStats


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """The engine failed under a request."""

    message: str


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """A parameter turned out wrong where only the engine could see it."""

    parameter: str
    reason: str


class SequenceOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one step gave one sample. `error` ends the request."""

    request_id: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None  # the caller's own stop id, when that ended it
    num_cached_tokens: int = 0
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    error: Fault | Refusal | None = None


class StepOutputs(msgspec.Struct, frozen=True, tag="step", gc=False):
    """All that one engine step has to say."""

    outputs: tuple[SequenceOutput, ...]
    stats: EngineStats


class Fatal(msgspec.Struct, frozen=True, tag="fatal"):
    """The engine cannot go on, or could not start; the process ends after this message."""

    message: str


ToEngine = Submit | Abort | Shutdown
FromEngine = Loading | Ready | StepOutputs | Fatal

_encoder = msgspec.msgpack.Encoder()
_to_engine = msgspec.msgpack.Decoder(ToEngine)
_from_engine = msgspec.msgpack.Decoder(FromEngine)


def encode(message: ToEngine | FromEngine) -> bytes:
    """Message to bytes."""
    return _encoder.encode(message)


def decode_to_engine(data: bytes) -> ToEngine:
    """Bytes to a message for the engine; raises `msgspec.ValidationError` on anything else."""
    return _to_engine.decode(data)


def decode_from_engine(data: bytes) -> FromEngine:
    """Bytes to a message for the server; raises `msgspec.ValidationError` on anything else."""
    return _from_engine.decode(data)
