"""Engines without a model, for tests of everything above the engine.

`ScriptedEngine` says what it is told to say, byte by byte, under the engine's real rules for
lengths, stops and log-probabilities.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from engine.errors import (
    ContextLengthExceeded,
    EngineError,
    EngineUnavailable,
    InvalidParameter,
)
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

BOS, EOS, TURN, END_TURN = 256, 257, 258, 259
SPECIAL = {BOS: b"<bos>", EOS: b"<eos>", TURN: b"<turn>", END_TURN: b"<end>"}
VOCAB_SIZE = 260


@dataclass
class ScriptedEngine:
    """Every sample says `reply` (or `reply(request)`), one byte per token, then EOS.

    `delay` and `first_delay` are seconds before each delta and before the first; `fail_with` is
    raised after `fail_after` tokens of the samples whose index is in `fail_samples` (None: all);
    `refuse_with` is raised by `generate` itself. `gate`, when set, holds every delta after the
    first `gate_after` until it opens. Records requests and aborts.
    """

    reply: str | bytes | Callable[[GenerationRequest], str | bytes] = "hello world"
    delay: float = 0.0
    first_delay: float = 0.0
    fail_with: Exception | None = None
    fail_after: int = 0
    fail_samples: tuple[int, ...] | None = None
    refuse_with: EngineError | None = None
    gate: asyncio.Event | None = None
    gate_after: int = 1
    cached_tokens: int = 0
    max_model_len: int = 512
    phase: str = "ready"
    requests: list[GenerationRequest] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    open: dict[str, asyncio.Event] = field(default_factory=dict)
    produced: int = 0
    started: int = 0
    stopped: int = 0
    served_name: str = "diglot-mini"
    tool_call_format: str | None = None
    reasons: bool = False
    prompts: list[Prompt] = field(default_factory=list)

    @property
    def model(self) -> ModelCard:
        return ModelCard(
            id=self.served_name,
            created=1_760_000_000,
            max_model_len=self.max_model_len,
            vocab_size=VOCAB_SIZE,
            fingerprint="fp_scripted",
            eos_token_ids=(EOS,),
            tool_call_format=self.tool_call_format,
            reasons=self.reasons,
            bos_token="<bos>",
            eos_token="<eos>",
            chat_template="{{ messages }}",
        )

    @property
    def stats(self) -> EngineStats:
        return EngineStats(running=len(self.open), blocks_used=len(self.open), blocks_total=64)

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        if self.phase != "ready":
            raise EngineUnavailable(self.phase)
        self.prompts.append(prompt)
        if isinstance(prompt, TokenPrompt):
            for token_id in prompt.token_ids:
                if not 0 <= token_id < VOCAB_SIZE:
                    raise InvalidParameter("prompt", token_id, "not in the vocabulary.")
            return prompt.token_ids
        if isinstance(prompt, ChatPrompt):
            return _encode_chat(prompt)
        return _encode_text(prompt)

    def decode(self, token_ids: tuple[int, ...]) -> str:
        return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        return SPECIAL.get(token_id) or bytes([token_id])

    def is_special(self, token_id: int) -> bool:
        return token_id in SPECIAL

    def generate(self, request: GenerationRequest) -> AsyncIterator[TextDelta]:
        if self.refuse_with is not None:
            raise self.refuse_with
        self._check(request)
        self.requests.append(request)
        self.open[request.request_id] = asyncio.Event()
        return self._run(request)

    def abort(self, request_id: str) -> None:
        event = self.open.pop(request_id, None)
        if event is not None:
            self.aborted.append(request_id)
            event.set()

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1

    def _check(self, request: GenerationRequest) -> None:
        wanted = request.params.max_new_tokens
        length = len(request.prompt_token_ids)
        if length + (1 if wanted is None else wanted) > self.max_model_len:
            raise ContextLengthExceeded(self.max_model_len, length, wanted or 0)
        for token_id in (*request.params.logit_bias, *(request.params.allowed_token_ids or ())):
            if not 0 <= token_id < VOCAB_SIZE:
                raise InvalidParameter("logit_bias", token_id, f"no token has the id {token_id}.")

    async def _run(self, request: GenerationRequest) -> AsyncIterator[TextDelta]:
        aborted = self.open[request.request_id]
        sample = int(request.request_id.rpartition("-")[2])
        failing = self.fail_with if self.fail_samples in (None, ()) else None
        if self.fail_samples is not None and sample in self.fail_samples:
            failing = self.fail_with
        await asyncio.sleep(self.first_delay)
        for count, delta in enumerate(self.deltas(request)):
            if failing is not None and count >= self.fail_after:
                self.open.pop(request.request_id, None)
                raise failing
            if self.gate is not None and count >= self.gate_after:
                await self.gate.wait()
            await asyncio.sleep(self.delay)
            if aborted.is_set():
                return
            if delta.finish_reason is not None:
                self.open.pop(request.request_id, None)
            self.produced += 1
            yield delta

    def deltas(self, request: GenerationRequest) -> list[TextDelta]:
        """What a real engine would answer, all at once."""
        ids, finish = self._tokens(request)
        text, stop = _cut(ids, request)
        if stop is not None:
            ids, finish = ids[: _tokens_until(ids, stop)], FinishReason.STOP
        reason = stop
        if stop is None and ids and ids[-1] in request.params.stop_token_ids:
            reason, finish = ids[-1], FinishReason.STOP
        return self._spread(request, ids, text, finish, reason)

    def _tokens(self, request: GenerationRequest) -> tuple[list[int], FinishReason]:
        params = request.params
        forced = [token_id for token_id, bias in params.logit_bias.items() if bias >= 100]
        reply = self.reply(request) if callable(self.reply) else self.reply
        data = reply.encode() if isinstance(reply, str) else reply
        limit = self.max_model_len - len(request.prompt_token_ids)
        if params.max_new_tokens is not None:
            limit = min(limit, params.max_new_tokens)
        if forced or params.ignore_eos:
            source = forced or list(data) + [EOS]
            ids = (source * (limit // len(source) + 1))[:limit]
            return ids, FinishReason.LENGTH
        ids = [*data, EOS]
        for position, token_id in enumerate(ids):
            if token_id in params.stop_token_ids:
                ids = ids[: position + 1]
                break
        ended = len(ids) <= limit
        return ids[:limit], FinishReason.STOP if ended else FinishReason.LENGTH

    def _spread(
        self,
        request: GenerationRequest,
        ids: list[int],
        text: str,
        finish: FinishReason,
        reason: str | int | None,
    ) -> list[TextDelta]:
        """One delta per token; characters appear with their last byte, all else at the end."""
        deltas: list[TextDelta] = []
        pending = b""
        shown = 0
        for count, token_id in enumerate(ids, start=1):
            special = token_id in SPECIAL
            offset = min(shown, len(text))
            if not special:
                pending += bytes([token_id])
            piece = ""
            if _complete(pending):
                piece, pending = pending.decode(), b""
            last = count == len(ids)
            piece = text[shown:] if last else text[shown : shown + len(piece)]
            shown += len(piece)
            wanted = request.want_tokens or request.params.logprobs is not None
            cut = offset >= len(text) and not special and isinstance(reason, str)
            token = OutputToken(token_id, offset, special, self._logprob(request, token_id))
            deltas.append(
                self._delta(
                    request,
                    text=piece,
                    tokens=(token,) if wanted and not cut else (),
                    finish_reason=finish if last else None,
                    stop_reason=reason if last else None,
                    num_generated_tokens=count,
                    first=count == 1,
                )
            )
        if not deltas:
            deltas.append(self._delta(request, finish_reason=finish, first=True))
        return deltas

    def _delta(self, request: GenerationRequest, *, first: bool, **values: object) -> TextDelta:
        prompt = request.prompt_token_ids
        wanted = request.params.prompt_logprobs
        logprobs = None
        if first and wanted is not None:
            logprobs = (None, *(fake_logprob(token_id, wanted) for token_id in prompt[1:]))
        return TextDelta(
            num_prompt_tokens=len(prompt),
            num_cached_tokens=self.cached_tokens,
            prompt_logprobs=logprobs,
            **values,  # type: ignore[arg-type]
        )

    def _logprob(self, request: GenerationRequest, token_id: int) -> TokenLogprob | None:
        wanted = request.params.logprobs
        return None if wanted is None else fake_logprob(token_id, wanted)


def fake_logprob(token_id: int, count: int) -> TokenLogprob:
    """The token is the most likely one when its id is even, else the 30th: never listed."""
    chosen = -0.1 - token_id / 1000 if token_id % 2 == 0 else -9.0
    best = [(token_id, chosen)] if token_id % 2 == 0 else []
    others = ((other, -1.0 - rank) for rank, other in enumerate(range(97, 127)))
    ranked = best + [pair for pair in others if pair[0] != token_id]
    return TokenLogprob(token_id, chosen, tuple(ranked[:count]))


def _encode_text(prompt: TextPrompt) -> tuple[int, ...]:
    ids = tuple(prompt.text.encode())
    return (BOS, *ids) if prompt.add_special_tokens or not ids else ids


def _encode_chat(prompt: ChatPrompt) -> tuple[int, ...]:
    ids: list[int] = [BOS]
    for message in prompt.messages:
        ids += [TURN, *f"{message['role']}\n{message.get('content') or ''}".encode(), END_TURN]
    if prompt.continue_final:
        ids.pop()
    if prompt.add_generation_prompt:
        ids += [TURN, *b"assistant\n"]
    return tuple(ids)


def _cut(ids: list[int], request: GenerationRequest) -> tuple[str, str | None]:
    """The sample's text up to the earliest stop string, and that stop string."""
    text = bytes(token_id for token_id in ids if token_id < BOS).decode("utf-8", "replace")
    hits = [(text.find(stop), -len(stop), stop) for stop in request.params.stop if stop in text]
    if not hits:
        return text, None
    start, _, stop = min(hits)
    end = start + len(stop) if request.params.include_stop else start
    return text[:end], stop


def _tokens_until(ids: list[int], stop: str) -> int:
    """How many tokens it took until the stop string was complete."""
    data = bytes(token_id for token_id in ids if token_id < BOS)
    return data.find(stop.encode()) + len(stop.encode())


def _complete(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
