"""One candidate of an answer: what of it is not sent yet, and running sums.

Knows a candidate's JSON; nothing of other candidates or of chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from engine import FinishReason, OutputToken, TextDelta
from server.answer import Event, Reasoning, Words
from server.answer_plan import PLAIN, AnswerPlan
from server.gemini.json_text import encode_json
from server.gemini.parts import Parts

LOWEST_LOGPROB = -1e30
"""Stands for minus infinity, which JSON has not."""

_STOP, _MAX_TOKENS = b',"finishReason":"STOP"', b',"finishReason":"MAX_TOKENS"'
_MALFORMED = b',"finishReason":"MALFORMED_FUNCTION_CALL"'

TokenBytes = Callable[[int], bytes]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in all chunks of one response.

    `logprobs` is None, or how many alternatives each token is reported with. `eos_token_ids` are
    left out of the log-probabilities; `token_bytes` spells the others. `plan` says how samples are
    read; `count_tokens` how long a piece of reasoning is.
    """

    response_id: str
    model: str
    prompt_tokens: int
    candidates: int
    logprobs: int | None
    eos_token_ids: tuple[int, ...]
    token_bytes: TokenBytes
    plan: AnswerPlan = PLAIN
    shows_thoughts: bool = False
    count_tokens: Callable[[str], int] = len


class Candidate:
    """One sample."""

    def __init__(self, index: int, head: Head) -> None:
        self.generated = 0
        self.cached: int | None = None
        self._head = head
        self._reader = None if head.plan.plain else head.plan.reader()
        self._index = b'],"role":"model"},"index":%d' % index
        self._parts = Parts(shows_thoughts=head.shows_thoughts)
        self._reasoning: list[str] = []
        self._thinking = False
        self._thoughts = 0
        self._tokens: list[OutputToken] = []
        self._finish_reason: FinishReason | None = None
        self._logprob_sum = 0.0
        self._logprob_count = 0

    @property
    def has_parts(self) -> bool:
        """Whether there is something to send."""
        return bool(self._parts)

    @property
    def thoughts(self) -> int:
        """Tokens of the reasoning; all, while it goes on."""
        return self.generated if self._thinking else self._thoughts

    def read(self, delta: TextDelta) -> list[Event]:
        """What a delta says, to be given to `absorb` next."""
        if self._reader is None:
            return [Words(delta.text, 0)] if delta.text else []
        return list(self._reader.feed(delta.text, last=delta.finish_reason is not None))

    def shows(self, events: Iterable[Event]) -> bool:
        """Whether any of the events can be sent."""
        return any(self._parts.shows(event) for event in events)

    def absorb(self, delta: TextDelta, events: Iterable[Event]) -> None:
        """Take what one step added."""
        self.generated = delta.num_generated_tokens
        self.cached = delta.num_cached_tokens
        self._finish_reason = delta.finish_reason or self._finish_reason
        for event in events:
            self._count_thought(event)
            self._parts.add(event)
        if self._finish_reason is not None:
            self._end_thinking()
        if self._head.logprobs is not None:
            self._tokens.extend(self._reported(delta))

    def exchange(self, delta: TextDelta) -> str:
        """As `read`, `absorb` and `take` of a plain answer that goes on: what waited is given."""
        self.generated = delta.num_generated_tokens
        self.cached = delta.num_cached_tokens
        return self._parts.exchange(delta.text)

    def take(self, final: bool) -> bytes:
        """The candidate's JSON; what it says is forgotten here. `final` says how it ended."""
        extra = self._finish() if final else b""
        if self._head.logprobs is not None:
            extra += self._logprobs(final)
        self._tokens.clear()
        return b'{"content":{"parts":[%b%b%b}' % (self._parts.take(), self._index, extra)

    def _finish(self) -> bytes:
        if self._finish_reason is None:
            return b""
        if self._finish_reason is FinishReason.LENGTH:
            return _MAX_TOKENS
        return _MALFORMED if self._parts.malformed or self._parts.has_open_call else _STOP

    def _count_thought(self, event: Event) -> None:
        if isinstance(event, Reasoning):
            self._reasoning.append(event.text)
            self._thinking = True
        else:
            self._end_thinking()

    def _end_thinking(self) -> None:
        if self._thinking:
            self._thinking = False
            self._thoughts = min(self.generated, self._head.count_tokens("".join(self._reasoning)))

    def _reported(self, delta: TextDelta) -> tuple[OutputToken, ...]:
        by_model = delta.finish_reason is FinishReason.STOP and delta.stop_reason is None
        if by_model and delta.tokens and delta.tokens[-1].token_id in self._head.eos_token_ids:
            return delta.tokens[:-1]
        return delta.tokens

    def _logprobs(self, final: bool) -> bytes:
        result = self._logprobs_result()
        if final and self._logprob_count:
            result["logProbabilitySum"] = self._logprob_sum
            average = self._logprob_sum / self._logprob_count
            return b',"avgLogprobs":%b,"logprobsResult":%b' % (
                encode_json(average),
                encode_json(result),
            )
        return b',"logprobsResult":%b' % encode_json(result) if result else b""

    def _logprobs_result(self) -> dict[str, object]:
        chosen: list[dict[str, object]] = []
        top: list[dict[str, object]] = []
        for token in self._tokens:
            if token.logprob is None:
                continue
            logprob = max(token.logprob.logprob, LOWEST_LOGPROB)
            self._logprob_sum += logprob
            self._logprob_count += 1
            chosen.append(self._entry(token.token_id, logprob))
            top.append({"candidates": self._entries(token.logprob.top)})
        result: dict[str, object] = {}
        if chosen:
            result["chosenCandidates"] = chosen
            if self._head.logprobs:
                result["topCandidates"] = top
        return result

    def _entries(self, pairs: Iterable[tuple[int, float]]) -> list[dict[str, object]]:
        return [self._entry(token_id, max(value, LOWEST_LOGPROB)) for token_id, value in pairs]

    def _entry(self, token_id: int, logprob: float) -> dict[str, object]:
        token = self._head.token_bytes(token_id).decode(errors="replace")
        return {"token": token, "tokenId": token_id, "logProbability": logprob}
