"""One open request on the client's side: token ids arrive, text deltas leave.

Knows the order of events of a single sample; knows nothing of processes or sockets.
"""

from __future__ import annotations

import asyncio

from engine.errors import EngineError, EngineFault, InvalidParameter
from engine.ipc import Fault, Refusal, SequenceOutput
from engine.text.output import OutputAssembler
from engine.text.tokenizer import Tokenizer
from engine.types import FinishReason, GenerationRequest, TextDelta


class OpenStream:
    """Async iterator of a sample's deltas; what arrives between two reads is merged into one."""

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer) -> None:
        self._params = request.params
        self._assembler = OutputAssembler(
            tokenizer, request.params, want_tokens=request.want_tokens
        )
        self._num_prompt_tokens = len(request.prompt_token_ids)
        self._num_cached_tokens = 0
        self._num_generated_tokens = 0
        self._pending: TextDelta | None = None
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.finished = False
        """No more will arrive; what is pending can still be read."""

    def push(self, output: SequenceOutput) -> None:
        """Take what one engine step said of this sample."""
        if output.error is not None:
            self.fail(self._as_raised(output.error))
            return
        made = self._assembler.push(output.token_ids, output.logprobs, output.finish_reason)
        self._num_generated_tokens += made.num_tokens
        self._num_cached_tokens = max(self._num_cached_tokens, output.num_cached_tokens)
        stopped = made.stop_hit is not None
        self.finished = stopped or output.finish_reason is not None
        self._add(
            TextDelta(
                text=made.text,
                tokens=made.tokens,
                finish_reason=FinishReason.STOP if stopped else output.finish_reason,
                stop_reason=made.stop_hit if stopped else output.stop_token_id,
                num_prompt_tokens=self._num_prompt_tokens,
                num_cached_tokens=self._num_cached_tokens,
                num_generated_tokens=self._num_generated_tokens,
                prompt_logprobs=output.prompt_logprobs,
            )
        )

    def _as_raised(self, error: Fault | Refusal) -> EngineError:
        if isinstance(error, Fault):
            return EngineFault(error.message)
        value: object = getattr(self._params, error.parameter, None)
        return InvalidParameter(error.parameter, value, error.reason)

    def fail(self, error: EngineError) -> None:
        """End the stream with an error, after what is pending was read."""
        self.finished = True
        self._error = error
        self._wake()

    def __aiter__(self) -> OpenStream:
        return self

    async def __anext__(self) -> TextDelta:
        while self._pending is None:
            if self._error is not None:
                raise self._error
            if self.finished:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        delta, self._pending = self._pending, None
        return delta

    def _add(self, delta: TextDelta) -> None:
        self._pending = delta if self._pending is None else _merge(self._pending, delta)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _merge(first: TextDelta, second: TextDelta) -> TextDelta:
    """Two consecutive deltas as one; counters are cumulative, so the later ones hold."""
    return TextDelta(
        text=first.text + second.text,
        tokens=first.tokens + second.tokens,
        finish_reason=second.finish_reason,
        stop_reason=second.stop_reason,
        num_prompt_tokens=second.num_prompt_tokens,
        num_cached_tokens=second.num_cached_tokens,
        num_generated_tokens=second.num_generated_tokens,
        prompt_logprobs=first.prompt_logprobs or second.prompt_logprobs,
    )
