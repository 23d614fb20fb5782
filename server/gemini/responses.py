"""Text deltas -> GenerateContentResponse bytes, whole or chunk by chunk.

Each response is put together from pieces serialized before; per chunk only the text is escaped and
the counts are formatted. A whole answer is simply a stream whose first chunk is its last, so both
have one shape. Knows nothing of HTTP or of how chunks are framed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from engine import FinishReason, OutputToken, TextDelta

LOWEST_LOGPROB = -1e30
"""Stands for minus infinity, which JSON has not."""

_FINISH_REASONS = {
    FinishReason.STOP: b',"finishReason":"STOP"',
    FinishReason.LENGTH: b',"finishReason":"MAX_TOKENS"',
}
_LINE_BREAKS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
"""Line breaks to neither JSON nor SSE, but to the `str.splitlines` of Python clients."""

TokenBytes = Callable[[int], bytes]


def encode_json(value: object) -> bytes:
    """Compact JSON that is one line to everybody."""
    data = msgspec.json.encode(value)
    if not data.isascii():
        for raw, escaped in _LINE_BREAKS:
            data = data.replace(raw, escaped)
    return data


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in all chunks of one response.

    `logprobs` is None, or how many alternatives each token is reported with. `eos_token_ids` are
    left out of the log-probabilities; `token_bytes` spells the others.
    """

    response_id: str
    model: str
    prompt_tokens: int
    candidates: int
    logprobs: int | None
    eos_token_ids: tuple[int, ...]
    token_bytes: TokenBytes


class ResponseWriter:
    """Collects the deltas of all candidates and says when and what to send.

    One delta of text is held back, because the finish reason must stand on the chunk with the last
    text and no chunk may follow it. With several candidates, every chunk lists all of them and all
    finish reasons wait for the last one.
    """

    def __init__(self, head: Head) -> None:
        self._candidates = [_Candidate(index, head) for index in range(head.candidates)]
        self._prompt_tokens = head.prompt_tokens
        self._tail = (
            b'"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]},'
            b'"modelVersion":%b,"responseId":%b}'
        ) % (head.prompt_tokens, encode_json(head.model), encode_json(head.response_id))

    def add(self, index: int, delta: TextDelta) -> bytes | None:
        """Take a delta of one candidate; returns the chunk that it pushes out, if any."""
        candidate = self._candidates[index]
        chunk = self._response(final=False) if candidate.has_text and delta.text else None
        candidate.absorb(delta)
        return chunk

    def absorb(self, index: int, delta: TextDelta) -> None:
        """Take a delta of one candidate and keep it all for `finish`."""
        self._candidates[index].absorb(delta)

    def held_back(self) -> bytes | None:
        """A chunk of the text not sent yet, if any: for a stream that ends in an error."""
        has_text = any(candidate.has_text for candidate in self._candidates)
        return self._response(final=False) if has_text else None

    def finish(self) -> bytes:
        """The last chunk, or the whole response: what is left, finish reasons, final counts."""
        return self._response(final=True)

    def _response(self, *, final: bool) -> bytes:
        candidates = b",".join([candidate.take(final) for candidate in self._candidates])
        generated = sum(candidate.generated for candidate in self._candidates)
        # What the other candidates find is what the first one computed: the fewest count.
        known = [candidate.cached for candidate in self._candidates if candidate.cached is not None]
        cached = min(known, default=0)
        return b'{"candidates":[%b],"usageMetadata":{"promptTokenCount":%d,%b%b%b' % (
            candidates,
            self._prompt_tokens,
            b'"cachedContentTokenCount":%d,' % cached if cached else b"",
            b'"candidatesTokenCount":%d,"totalTokenCount":%d,'
            % (generated, self._prompt_tokens + generated),
            self._tail,
        )


class _Candidate:
    """One sample: what of it is not sent yet, and running sums."""

    def __init__(self, index: int, head: Head) -> None:
        self.generated = 0
        self.cached: int | None = None
        self._head = head
        self._index = b'}],"role":"model"},"index":%d' % index
        self._texts: list[str] = []
        self._tokens: list[OutputToken] = []
        self._finish_reason: FinishReason | None = None
        self._logprob_sum = 0.0
        self._logprob_count = 0

    @property
    def has_text(self) -> bool:
        """Whether there is text to send."""
        return bool(self._texts)

    def absorb(self, delta: TextDelta) -> None:
        """Take what one step added."""
        if delta.text:
            self._texts.append(delta.text)
        if self._head.logprobs is not None:
            self._tokens.extend(self._reported(delta))
        self.generated = delta.num_generated_tokens
        self.cached = delta.num_cached_tokens
        self._finish_reason = delta.finish_reason or self._finish_reason

    def take(self, final: bool) -> bytes:
        """The candidate's JSON; what it says is forgotten here. `final` says how it ended."""
        text = encode_json("".join(self._texts))
        extra = b""
        if final and self._finish_reason is not None:
            extra = _FINISH_REASONS[self._finish_reason]
        if self._head.logprobs is not None:
            extra += self._logprobs(final)
        self._texts.clear()
        self._tokens.clear()
        return b'{"content":{"parts":[{"text":%b%b%b}' % (text, self._index, extra)

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
