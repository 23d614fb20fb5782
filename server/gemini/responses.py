"""Text deltas -> GenerateContentResponse bytes, whole or chunk by chunk.

Each response is put together from pieces serialized before; per chunk only the text is escaped and
the counts are formatted. A whole answer is simply a stream whose first chunk is its last, so both
have one shape. Knows nothing of HTTP or of how chunks are framed.
"""

from __future__ import annotations

from engine import TextDelta
from server.gemini.candidate import Candidate, Head
from server.gemini.json_text import encode_json

_PLAIN_CHUNK = (
    b'{"candidates":[{"content":{"parts":[{"text":%b}],"role":"model"},"index":0}],'
    b'"usageMetadata":{"promptTokenCount":%d,%b"candidatesTokenCount":%d,"totalTokenCount":%d,%b'
)
"""What `_response` writes for the words of a single plain answer that goes on."""


class ResponseWriter:
    """Collects the deltas of all candidates and says when and what to send.

    What one delta says is held back, because the finish reason must stand on the chunk with the
    last part and no chunk may follow it. With several candidates, every chunk lists all of them
    and all finish reasons wait for the last one.
    """

    def __init__(self, head: Head) -> None:
        self._candidates = [Candidate(index, head) for index in range(head.candidates)]
        self._prompt_tokens = head.prompt_tokens
        self._only = None
        if head.candidates == 1 and head.plan.plain and head.logprobs is None:
            self._only = self._candidates[0]
        self._tail = (
            b'"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]},'
            b'"modelVersion":%b,"responseId":%b}'
        ) % (head.prompt_tokens, encode_json(head.model), encode_json(head.response_id))

    def add(self, index: int, delta: TextDelta) -> bytes | None:
        """Take a delta of one candidate; returns the chunk that it pushes out, if any."""
        only = self._only
        if only is not None and only.has_parts and delta.text and delta.finish_reason is None:
            return self._plain_chunk(only, delta)  # most of them
        candidate = self._candidates[index]
        events = candidate.read(delta)
        new = candidate.has_parts and candidate.shows(events)
        chunk = self._response(final=False) if new else None
        candidate.absorb(delta, events)
        return chunk

    def absorb(self, index: int, delta: TextDelta) -> None:
        """Take a delta of one candidate and keep it all for `finish`."""
        candidate = self._candidates[index]
        candidate.absorb(delta, candidate.read(delta))

    def held_back(self) -> bytes | None:
        """A chunk of the parts not sent yet, if any: for a stream that ends in an error."""
        has_parts = any(candidate.has_parts for candidate in self._candidates)
        return self._response(final=False) if has_parts else None

    def finish(self) -> bytes:
        """The last chunk, or the whole response: what is left, finish reasons, final counts."""
        return self._response(final=True)

    def _plain_chunk(self, candidate: Candidate, delta: TextDelta) -> bytes:
        generated, cached = candidate.generated, candidate.cached
        return _PLAIN_CHUNK % (
            encode_json(candidate.exchange(delta)),
            self._prompt_tokens,
            b'"cachedContentTokenCount":%d,' % cached if cached else b"",
            generated,
            self._prompt_tokens + generated,
            self._tail,
        )

    def _response(self, *, final: bool) -> bytes:
        candidates = b",".join([candidate.take(final) for candidate in self._candidates])
        generated = sum(candidate.generated for candidate in self._candidates)
        thoughts = sum(candidate.thoughts for candidate in self._candidates)
        # What the other candidates find is what the first one computed: the fewest count.
        known = [candidate.cached for candidate in self._candidates if candidate.cached is not None]
        cached = min(known, default=0)
        return b'{"candidates":[%b],"usageMetadata":{"promptTokenCount":%d,%b%b%b' % (
            candidates,
            self._prompt_tokens,
            b'"cachedContentTokenCount":%d,' % cached if cached else b"",
            b'"candidatesTokenCount":%d,"totalTokenCount":%d,'
            % (generated - thoughts, self._prompt_tokens + generated),
            b'"thoughtsTokenCount":%d,' % thoughts + self._tail if thoughts else self._tail,
        )
