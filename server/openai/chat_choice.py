"""One choice of a streamed chat answer, delta by delta.

Knows the choice object of a chunk; nothing of how chunks follow one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine import OutputToken, TextDelta
from server.answer import Event, Reasoning, Words
from server.openai.call_fragments import CallFragments
from server.openai.chat_job import ChatJob, count_tokens
from server.openai.frames import line
from server.openai.tokens import ChatLogprobs
from server.openai.word_tokens import WordTokens

_GOES_ON = b'},"logprobs":null,"finish_reason":null}'


class ChoiceWriter:
    """Writes the choice object of each chunk of one choice."""

    def __init__(self, job: ChatJob, index: int) -> None:
        self._job = job
        self._open = b'{"index":%d,"delta":' % index
        self._logprobs = None
        if job.fields.logprob_count is not None:
            self._logprobs = ChatLogprobs(
                job.engine,
                job.fields.logprob_count,
                as_ids=job.fields.return_tokens_as_token_ids,
            )
        self._reader = None if job.plan.plain else job.plan.reader()
        self._waiting = WordTokens()
        self._reasoning: list[str] = []
        self._token_ids: list[int] = []
        self._calls = CallFragments(job.plan.use)
        self._detailed = job.fields.return_token_ids or self._logprobs is not None

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning so far."""
        return count_tokens(self._job.engine, "".join(self._reasoning))

    def role(self) -> bytes:
        """The first chunk of every choice."""
        content = b"null" if self._job.plan.use.required else b'""'
        parts = [self._open, b'{"role":"assistant","content":%b},"logprobs":null' % content]
        parts.append(b',"finish_reason":null')
        if self._job.fields.return_token_ids:
            parts += [b',"prompt_token_ids":', msgspec.json.encode(self._job.prompt)]
        parts.append(b"}")
        return b"".join(parts)

    def write(self, delta: TextDelta) -> list[bytes]:
        """The chunks of one delta: what it says, and the empty delta that ends the choice."""
        choices = self._plain(delta) if self._reader is None else self._events(delta)
        if delta.finish_reason is not None:
            finish = self._job.finish(delta.finish_reason, called=self._calls.count > 0).encode()
            last = b'{},"logprobs":null,"finish_reason":"%b","stop_reason":%b%b}'
            ids = self._all_token_ids()
            choices.append(self._open + last % (finish, line(delta.stop_reason), ids))
        return choices

    def _plain(self, delta: TextDelta) -> list[bytes]:
        if not self._detailed:  # most of them
            return [self._words(delta.text)] if delta.text else []
        if not delta.text and not delta.tokens:
            return []
        return [self._content(delta.text, delta.tokens, delta)]

    def _all_token_ids(self) -> bytes:
        """Where an answer is more than words, its last chunk has the ids of all its tokens."""
        if self._reader is None or not self._job.fields.return_token_ids:
            return b""
        return b',"token_ids":' + msgspec.json.encode(self._token_ids)

    def _events(self, delta: TextDelta) -> list[bytes]:
        assert self._reader is not None
        self._waiting.add(delta.tokens)
        self._token_ids += [token.token_id for token in delta.tokens]
        events = self._reader.feed(delta.text, last=delta.finish_reason is not None)
        return [chunk for event in events for chunk in self._event(event, delta)]

    def _event(self, event: Event, delta: TextDelta) -> list[bytes]:
        match event:
            case Words(text):
                return [self._content(text, self._waiting.of(event), delta)]
            case Reasoning(text):
                self._reasoning.append(text)
                shown = self._job.fields.include_reasoning
                return [self._delta({"reasoning_content": text})] if shown else []
            case _:
                return [self._delta({"tool_calls": [call]}) for call in self._calls.write(event)]

    def _delta(self, value: dict[str, object]) -> bytes:
        return self._open + line(value) + b',"logprobs":null,"finish_reason":null}'

    def _words(self, text: str) -> bytes:
        return b'%b{"content":%b%b' % (self._open, line(text), _GOES_ON)

    def _content(self, text: str, tokens: Sequence[OutputToken], delta: TextDelta) -> bytes:
        if not self._detailed:
            return self._words(text)
        parts = [self._open, b'{"content":', line(text), b'},"logprobs":']
        if self._logprobs is None:
            parts.append(b"null")
        else:
            cut = isinstance(delta.stop_reason, str)
            parts.append(line(self._logprobs.of_delta(tokens, text, cut=cut)))
        parts.append(b',"finish_reason":null')
        if self._job.fields.return_token_ids and self._reader is None:
            token_ids = [token.token_id for token in tokens]
            parts += [b',"token_ids":', msgspec.json.encode(token_ids)]
        parts.append(b"}")
        return b"".join(parts)
