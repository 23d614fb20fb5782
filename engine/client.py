"""The engine as the server sees it: text in, text out, over a process that may die and come back.

Tokenizes, sends, puts tokens together to text, stops at stop strings, aborts. Knows nothing of
dialects, of tensors, or of how the engine schedules.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import msgspec

from engine import ipc
from engine.config import EngineConfig
from engine.errors import (
    ContextLengthExceeded,
    EngineError,
    EngineFault,
    EngineUnavailable,
    InvalidParameter,
)
from engine.process import EngineProcess
from engine.streams import OpenStream
from engine.text.chat_template import ChatTemplate
from engine.text.tokenizer import Tokenizer, load_tokenizer
from engine.types import (
    ChatPrompt,
    EngineStats,
    GenerationRequest,
    ModelCard,
    Prompt,
    TextDelta,
    TextPrompt,
)

log = logging.getLogger(__name__)

READY = "ready"
_RESTART_SECONDS = (0.0, 0.5, 2.0, 5.0)


class EngineClient:
    """Implements `engine.interface.Engine` over an engine process."""

    def __init__(
        self, config: EngineConfig, launch: Callable[[EngineConfig], EngineProcess] = EngineProcess
    ) -> None:
        """`launch` makes the process of each life of the engine, not yet started."""
        self._config = config
        self._launch = launch
        self._phase = "starting"
        self._model: ModelCard | None = None
        self._stats = EngineStats()
        self._tokenizer: Tokenizer | None = None
        self._template: ChatTemplate | None = None
        self._process: EngineProcess | None = None
        self._streams: dict[str, OpenStream] = {}
        self._supervisor: asyncio.Task[None] | None = None
        self._launched = asyncio.Event()

    # State

    @property
    def phase(self) -> str:
        """See `Engine.phase`."""
        return self._phase

    @property
    def model(self) -> ModelCard:
        """See `Engine.model`."""
        if self._model is None:
            raise EngineUnavailable(self._phase)
        return self._model

    @property
    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        return self._stats

    # Life

    async def start(self) -> None:
        """See `Engine.start`. The process is launched when this returns."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise())
            launched = asyncio.create_task(self._launched.wait())
            await asyncio.wait((self._supervisor, launched), return_when=asyncio.FIRST_COMPLETED)
            launched.cancel()

    async def stop(self) -> None:
        """See `Engine.stop`. May be called again."""
        self._phase = "stopped"
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self._fail_open_streams("The server is shutting down.")

    async def _supervise(self) -> None:
        """Keep a process running. Ends, with an `EngineError`, only when that is in vain."""
        try:
            text = asyncio.create_task(asyncio.to_thread(self._load_text))
            failures = 0
            while failures < len(_RESTART_SECONDS):
                await asyncio.sleep(_RESTART_SECONDS[failures])
                was_ready = await self._run_once(text)
                failures = 0 if was_ready else failures + 1
            raise EngineFault("The engine process ends again and again while it starts.")
        except EngineError as error:
            self._phase = f"failed: {error}"
            raise

    def _load_text(self) -> None:
        model = Path(self._config.model)
        self._tokenizer = load_tokenizer(model)
        self._template = ChatTemplate.load(model)

    async def _run_once(self, text: asyncio.Task[None]) -> bool:
        """One life of the engine process, from launch to death; True if it had been ready.

        The text side loads meanwhile, in `text`.

        Raises:
            EngineFault: the engine says itself that it cannot start, so trying again is vain.
        """
        process = self._process = self._launch(self._config)
        was_ready = False
        try:
            began = time.monotonic()
            await process.start()
            self._launched.set()
            await text
            async for message in process.messages():
                if isinstance(message, ipc.Fatal) and not was_ready:
                    raise EngineFault(message.message)
                self._handle(message)
                if isinstance(message, ipc.Ready):
                    was_ready = True
                    _log_start(time.monotonic() - began, message.startup_seconds)
        finally:
            self._process = None
            self._fail_open_streams("The engine process ended while it served this request.")
            await process.stop()
        self._phase = "restarting"
        log.error("the engine process ended; starting another")
        return was_ready

    def _handle(self, message: ipc.FromEngine) -> None:
        match message:
            case ipc.StepOutputs(outputs, stats):
                self._stats = stats
                for output in outputs:
                    stream = self._streams.get(output.request_id)
                    if stream is not None:  # else aborted while this was on its way
                        self._deliver(stream, output)
            case ipc.Loading(phase):
                self._phase = phase
            case ipc.Ready(model=model, stats=stats):
                self._model, self._stats, self._phase = self._with_text(model), stats, READY
            case ipc.Fatal(text):
                log.error("engine: %s", text)

    def _with_text(self, model: ModelCard) -> ModelCard:
        """The engine process's card, with what only the text side knows."""
        template = self._template
        assert template is not None, "the text side is loaded before the process starts"
        return msgspec.structs.replace(
            model,
            bos_token=self.tokenizer.bos_token,
            eos_token=self.tokenizer.eos_token,
            chat_template=template.source,
            tool_call_format=template.tool_call_format,
            reasons=template.reasons,
        )

    def _deliver(self, stream: OpenStream, output: ipc.SequenceOutput) -> None:
        stream.push(output)
        if stream.finished:
            del self._streams[output.request_id]
            engine_is_done = output.finish_reason is not None or output.error is not None
            if not engine_is_done:  # a stop string, which only this side can see
                self._send_abort(output.request_id)

    def _fail_open_streams(self, reason: str) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.fail(EngineFault(reason))

    # Text

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises `EngineUnavailable` while it loads."""
        if self._tokenizer is None:
            raise EngineUnavailable(self._phase)
        return self._tokenizer

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `Engine.encode`."""
        tokenizer = self.tokenizer
        if isinstance(prompt, ChatPrompt):
            assert self._template is not None, "loaded together with the tokenizer"
            text = self._template.render(
                prompt, bos_token=tokenizer.bos_token, eos_token=tokenizer.eos_token
            )
            ids = tokenizer.encode(text, add_special_tokens=prompt.add_special_tokens)
        elif isinstance(prompt, TextPrompt):
            ids = tokenizer.encode(prompt.text, add_special_tokens=prompt.add_special_tokens)
        else:
            ids = prompt.token_ids
            _check_ids("prompt", ids, tokenizer.vocab_size)
        return tuple(ids) or _document_start(tokenizer)

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """See `Engine.decode`."""
        return self.tokenizer.decode(token_ids)

    def token_bytes(self, token_id: int) -> bytes:
        """See `Engine.token_bytes`."""
        return self.tokenizer.token_bytes(token_id)

    def is_special(self, token_id: int) -> bool:
        """See `Engine.is_special`."""
        return self.tokenizer.is_special(token_id)

    # Requests

    def generate(self, request: GenerationRequest) -> AsyncIterator[TextDelta]:
        """See `Engine.generate`."""
        process = self._process
        if self._phase != READY or process is None:
            raise EngineUnavailable(self._phase)
        self._check(request)
        if request.request_id in self._streams:
            raise EngineError(f"request id {request.request_id!r} is in use")
        stream = OpenStream(request, self.tokenizer)
        self._streams[request.request_id] = stream
        process.send(ipc.Submit(request.request_id, request.prompt_token_ids, request.params))
        return stream

    def abort(self, request_id: str) -> None:
        """See `Engine.abort`."""
        if self._streams.pop(request_id, None) is not None:
            self._send_abort(request_id)

    def _send_abort(self, request_id: str) -> None:
        if self._process is not None:
            self._process.send(ipc.Abort((request_id,)))

    def _check(self, request: GenerationRequest) -> None:
        model, params = self.model, request.params
        for name, ids in (
            ("prompt", request.prompt_token_ids),
            ("logit_bias", params.logit_bias),
            ("allowed_token_ids", params.allowed_token_ids or ()),
            ("stop_token_ids", params.stop_token_ids),
        ):
            _check_ids(name, ids, model.vocab_size)
        prompt_tokens, wanted = len(request.prompt_token_ids), params.max_new_tokens
        # A prompt that fills the context leaves no room for a token, unless none is wanted.
        needed = 1 if wanted is None else wanted
        if prompt_tokens + needed > model.max_model_len:
            raise ContextLengthExceeded(model.max_model_len, prompt_tokens, wanted or 0)


def _log_start(seconds: float, phases: dict[str, float]) -> None:
    """Where the engine's start went. What its phases leave is Python's own start and imports."""
    parts = {"process and imports": seconds - sum(phases.values()), **phases}
    told = ", ".join(f"{name} {part:.2f}" for name, part in parts.items())
    log.info("engine ready in %.2f s: %s", seconds, told)


def _document_start(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What stands for an empty prompt: BOS, or the document separator of models without one."""
    if tokenizer.bos_token_id is not None:
        return (tokenizer.bos_token_id,)
    return tokenizer.eos_token_ids[:1]


def _check_ids(name: str, ids: Iterable[int], vocab_size: int) -> None:
    for token_id in ids:
        if not 0 <= token_id < vocab_size:
            raise InvalidParameter(
                name, token_id, f"token id {token_id} is outside the vocabulary of {vocab_size}."
            )
