"""One caller's request on its way through the engine: fan out n, stream or collect, add up.

    prompts x n  ->  GenerationRequests  ->  (index, TextDelta) in order of arrival

The samples of prompt p are `p * n` to `p * n + n - 1`. Every way out (end, error, abort) gives
the admission back and leaves nothing running. Shared by every dialect; knows none of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec

from engine import (
    Engine,
    EngineFault,
    FinishReason,
    GenerationRequest,
    OutputToken,
    SamplingParams,
    TextDelta,
    TokenLogprob,
)
from server.admission import Admission, Ticket
from server.metrics import Metrics


@dataclass(frozen=True)
class Usage:
    """Token counts of a whole request. A prompt counts once, whatever `n` is."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(slots=True)
class Sample:
    """One finished sample. `index` is `prompt_index * n + j`."""

    index: int
    prompt_index: int
    text: str = ""
    tokens: list[OutputToken] = field(default_factory=list[OutputToken])
    finish_reason: FinishReason = FinishReason.LENGTH
    stop_reason: str | int | None = None
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    num_generated_tokens: int = 0
    num_cached_tokens: int = 0


def sample_seed(seed: int, prompt_index: int, j: int) -> int:
    """The seed of sample `j` of prompt `prompt_index`.

    The first sample of the first prompt keeps the caller's seed; any other takes the first eight
    bytes of BLAKE2b over (seed as int64, prompt_index as uint32, j as uint32), little-endian, as
    an int64. So one sample alone equals the first of many, in every dialect.
    """
    if prompt_index == 0 and j == 0:
        return seed
    key = struct.pack("<qII", seed, prompt_index, j)
    return struct.unpack("<q", hashlib.blake2b(key, digest_size=8).digest())[0]


class Generation:
    """All samples of one request. Iterate it, or `collect()` it, after `start()`."""

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[tuple[int, ...]],
        params: SamplingParams,
        *,
        n: int = 1,
        want_tokens: bool = False,
        request_id: str,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        dialect: str = "",
    ) -> None:
        self._engine = engine
        self._prompts = prompts
        self._params = params
        self._n = n
        self._want_tokens = want_tokens
        self._request_id = request_id
        self._admission = admission
        self._watch = _Stopwatch(metrics, dialect)
        self._ticket: Ticket | None = None
        self._only: AsyncIterator[TextDelta] | None = None  # the stream of a single sample
        self._funnel: _Funnel | None = None  # those of several
        self._first: tuple[int, TextDelta] | None = None
        self._open: set[int] = set()
        self._generated = [0] * self.num_samples
        self._cached: list[int | None] = [None] * self.num_samples

    @property
    def num_samples(self) -> int:
        return len(self._prompts) * self._n

    @property
    def usage(self) -> Usage:
        """Counts so far; final once every sample has ended.

        A prompt's cached tokens are the fewest that one of its samples reports: its other samples
        find what the first one computed, which is no saving from earlier requests.
        """
        cached = 0
        for start in range(0, self.num_samples, self._n):
            known = [count for count in self._cached[start : start + self._n] if count is not None]
            cached += min(known, default=0)
        return Usage(sum(map(len, self._prompts)), sum(self._generated), cached)

    def generated_tokens(self, index: int) -> int:
        """Tokens that one sample has so far."""
        return self._generated[index]

    def prompt_counts(self, index: int) -> tuple[int, int]:
        """Prompt tokens and cached prompt tokens of one sample."""
        return len(self._prompts[index // self._n]), self._cached[index] or 0

    async def start(self) -> None:
        """Submit every sample and wait for the first result.

        Raises:
            Overloaded, EngineUnavailable, ContextLengthExceeded, InvalidRequest, EngineFault:
            nothing is left running.
        """
        try:
            if self._admission is not None:
                tokens = sum(map(len, self._prompts))
                self._ticket = self._admission.admit(self.num_samples, tokens)
            streams = [self._submit(index) for index in range(self.num_samples)]
            if len(streams) == 1:
                self._only = streams[0]
            else:
                self._funnel = _Funnel(streams)
            self._first = await anext(self)
        except BaseException:  # cancellation included: whoever leaves, leaves nothing behind
            self.abort("error")
            raise

    def abort(self, reason: str = "disconnect") -> None:
        """End what still runs and give the room back. Never awaits; harmless when repeated."""
        for index in self._open:
            self._engine.abort(self._sample_id(index))
        if self._open:
            self._watch.aborted(reason)
        self._open.clear()
        self._first = None
        if self._funnel is not None:
            self._funnel.cancel()
        if self._ticket is not None:
            self._ticket.release()

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> tuple[int, TextDelta]:
        """The next (index, delta) of any sample, in order of arrival.

        Raises:
            EngineFault: one sample failed; the others are aborted.
        """
        if self._first is not None:
            item, self._first = self._first, None
            return item
        if not self._open:
            raise StopAsyncIteration
        try:
            if self._only is not None:  # read in place: the engine may merge for a slow reader
                index, delta = 0, await self._only.__anext__()
            else:
                assert self._funnel is not None, "what is open was submitted by `start`"
                index, delta = await self._funnel.get()
        except StopAsyncIteration:
            self.abort("error")
            raise EngineFault("The engine ended the request early.") from None
        except BaseException:
            self.abort("error")
            raise
        self._record(index, delta)
        return index, delta

    async def collect(self) -> list[Sample]:
        """Wait for every sample. Calls `start` when nobody did."""
        if self._only is None and self._funnel is None:
            await self.start()
        samples = [Sample(index, index // self._n) for index in range(self.num_samples)]
        pieces: list[list[str]] = [[] for _ in samples]
        async for index, delta in self:
            sample = samples[index]
            pieces[index].append(delta.text)
            sample.tokens.extend(delta.tokens)
            sample.num_generated_tokens = delta.num_generated_tokens
            sample.num_cached_tokens = delta.num_cached_tokens
            if delta.prompt_logprobs is not None:
                sample.prompt_logprobs = delta.prompt_logprobs
            if delta.finish_reason is not None:
                sample.finish_reason = delta.finish_reason
                sample.stop_reason = delta.stop_reason
        for sample, texts in zip(samples, pieces, strict=True):
            sample.text = "".join(texts)
        return samples

    def _sample_id(self, index: int) -> str:
        return f"{self._request_id}-{index}"

    def _submit(self, index: int) -> AsyncIterator[TextDelta]:
        prompt_index, j = divmod(index, self._n)
        params = self._params
        if params.seed is not None and index > 0:
            seed = sample_seed(params.seed, prompt_index, j)
            params = msgspec.structs.replace(params, seed=seed)
        prompt = self._prompts[prompt_index]
        sample_id, tokens = self._sample_id(index), self._want_tokens
        stream = self._engine.generate(GenerationRequest(sample_id, prompt, params, tokens))
        self._open.add(index)
        return stream

    def _record(self, index: int, delta: TextDelta) -> None:
        self._generated[index] = delta.num_generated_tokens
        self._cached[index] = delta.num_cached_tokens
        self._watch.delta(index)
        if delta.finish_reason is not None:
            self._open.discard(index)
            self._watch.finished(delta.finish_reason)
            if not self._open:
                self._watch.ended()
                self.abort()  # nothing runs: this only gives the room back


class _Stopwatch:
    """Measures one generation for the metrics, when there are any."""

    def __init__(self, metrics: Metrics | None, dialect: str) -> None:
        self._metrics = metrics
        self._dialect = dialect
        self._started = time.monotonic()
        self._last: dict[int, float] = {}
        if metrics is not None:
            self._first_token = metrics.first_token.of(dialect)
            self._inter_token = metrics.inter_token.of(dialect)

    def delta(self, index: int) -> None:
        if self._metrics is None:
            return
        now = time.monotonic()
        last = self._last.get(index)
        if last is not None:
            self._inter_token.observe(now - last)
        elif not self._last:
            self._first_token.observe(now - self._started)
        self._last[index] = now

    def finished(self, reason: FinishReason) -> None:
        if self._metrics is not None:
            self._metrics.samples.labels(self._dialect, reason.value).inc()

    def ended(self) -> None:
        if self._metrics is not None:
            seconds = time.monotonic() - self._started
            self._metrics.duration.of(self._dialect).observe(seconds)

    def aborted(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.aborts.labels(self._dialect, reason).inc()


class _Funnel:
    """Many streams as one: a task for each, none per delta, and one queue. The first failure is
    what the reader gets."""

    def __init__(self, streams: list[AsyncIterator[TextDelta]]) -> None:
        self._queue: asyncio.Queue[tuple[int, TextDelta] | BaseException] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        for index, stream in enumerate(streams):
            task = asyncio.create_task(self._pump(index, stream))
            task.add_done_callback(self._pump_done)
            self._tasks.append(task)

    def cancel(self) -> None:
        """Stop every pump. Never awaits."""
        for task in self._tasks:
            task.cancel()

    async def get(self) -> tuple[int, TextDelta]:
        """The next delta of any stream, with the stream's number."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def _pump(self, index: int, stream: AsyncIterator[TextDelta]) -> None:
        finished = False
        async for delta in stream:
            finished = delta.finish_reason is not None
            self._queue.put_nowait((index, delta))
        if not finished:
            raise EngineFault("The engine ended the request early.")

    def _pump_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._queue.put_nowait(error)
