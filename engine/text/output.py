"""One sample's token ids to the text and the token entries that its caller sees.

Knows the order detokenizer, stop strings, alignment of tokens with text. Does not know the engine
process, HTTP, or what an entry is used for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from engine.sampling_params import SamplingParams
from engine.text.detokenizer import Detokenizer
from engine.text.stop_strings import StopMatcher
from engine.text.tokenizer import Tokenizer
from engine.types import FinishReason, OutputToken, TokenLogprob


class AssembledDelta(msgspec.Struct, frozen=True, gc=False):
    """What a push added to the sample.

    `num_tokens` counts the tokens taken from this push: all of them, or those up to the one that
    showed that `stop_hit` ends the sample.
    """

    text: str
    tokens: tuple[OutputToken, ...] = ()
    stop_hit: str | None = None
    num_tokens: int = 0


class OutputAssembler:
    """Joins the parts for one sample; the cut into pushes never changes the outcome.

    Entries are built when `params.logprobs` or `want_tokens` asks for them, else `tokens` is
    empty. An entry comes with the delta that carries its token's first character, and in order;
    one without text (`special`) as soon as all text before it is out. A token wholly cut away by
    a stop string has no entry, one that keeps a character has.

    A stop string counts when the token that completes it is at least the `params.min_tokens`th;
    one completed earlier is ordinary text.
    """

    def __init__(
        self, tokenizer: Tokenizer, params: SamplingParams, *, want_tokens: bool = False
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, params.skip_special_tokens)
        self._matcher = StopMatcher(params.stop, params.include_stop) if params.stop else None
        self._entries = _EntryQueue() if want_tokens or params.logprobs is not None else None
        self._include_stop = params.include_stop
        self._min_tokens = params.min_tokens
        self._num_tokens = 0
        self._decoded = 0  # characters that left the detokenizer
        self._finished = False

    def push(
        self,
        token_ids: Sequence[int],
        logprobs: Sequence[TokenLogprob] | None = None,
        finish: FinishReason | None = None,
        *,
        ends_with_stop_token: bool | None = None,
    ) -> AssembledDelta:
        """Take new tokens; `logprobs`, unless None or empty, is aligned with them.

        With a `finish` the held text comes out too. `ends_with_stop_token` says that the last
        token is the end-of-sequence or stop id that ended the sample: it never has text, even
        where special tokens are shown. None stands for `finish` being STOP, since stop strings,
        the other way to that reason, are found here and nowhere before.

        When the delta has a `stop_hit`, or after a `finish`, the sample is over and must not be
        pushed to again. A stop string may be found in the text that a `finish` lets out; it then
        goes before that reason.
        """
        assert not self._finished
        if finish is None and not ends_with_stop_token and len(token_ids) == 1:  # most of them
            text, stop_hit = self._take(token_ids[0], logprobs[0] if logprobs else None, shown=True)
            self._finished = stop_hit is not None
            return AssembledDelta(text, self._ready_entries(text, stop_hit), stop_hit, 1)
        if ends_with_stop_token is None:
            ends_with_stop_token = finish is FinishReason.STOP
        texts: list[str] = []
        stop_hit = None
        num_text_tokens = len(token_ids) - (1 if ends_with_stop_token and token_ids else 0)
        taken = 0
        for token_id in token_ids:
            logprob = logprobs[taken] if logprobs else None
            text, stop_hit = self._take(token_id, logprob, shown=taken < num_text_tokens)
            texts.append(text)
            taken += 1
            if stop_hit is not None:
                break
        if finish is not None and stop_hit is None:
            text, stop_hit = self._flush()
            texts.append(text)
        self._finished = finish is not None or stop_hit is not None
        text = "".join(texts)
        return AssembledDelta(text, self._ready_entries(text, stop_hit), stop_hit, taken)

    def _take(
        self, token_id: int, logprob: TokenLogprob | None, shown: bool
    ) -> tuple[str, str | None]:
        """One token: the text it lets out, and the stop string that it shows to be final."""
        self._num_tokens += 1
        if self._entries is not None:
            self._add_entry(self._entries, token_id, logprob, shown)
        return self._match(self._detokenizer.push(token_id)) if shown else ("", None)

    def _add_entry(
        self, entries: _EntryQueue, token_id: int, logprob: TokenLogprob | None, shown: bool
    ) -> None:
        silent = not shown or self._detokenizer.skips(token_id)
        offset = self._decoded
        if not silent:
            offset += self._detokenizer.characters_before(token_id)
        entries.add(OutputToken(token_id, offset, silent, logprob))

    def _match(self, text: str) -> tuple[str, str | None]:
        self._decoded += len(text)
        if self._matcher is None:
            return text, None
        return self._matcher.push(text, armed=self._num_tokens >= self._min_tokens)

    def _flush(self) -> tuple[str, str | None]:
        """All that is held, and the stop string that had only waited for a longer one."""
        text, stop_hit = self._match(self._detokenizer.flush())
        if self._matcher is None or stop_hit is not None:
            return text, stop_hit
        rest, stop_hit = self._matcher.flush()
        return text + rest, stop_hit

    def _ready_entries(self, text: str, stop_hit: str | None) -> tuple[OutputToken, ...]:
        if self._entries is None:
            return ()
        # Where a stop string was kept, a token without text at the very end came after it.
        return self._entries.release(len(text), sealed=stop_hit is not None and self._include_stop)


class _EntryQueue:
    """Entries that wait for their text, in order."""

    def __init__(self) -> None:
        self._waiting: deque[OutputToken] = deque()
        self._released = 0  # characters of text given out

    def add(self, entry: OutputToken) -> None:
        self._waiting.append(entry)

    def release(self, num_characters: int, sealed: bool) -> tuple[OutputToken, ...]:
        """The entries that belong to the text given out, of which this much is new.

        What still waits when a sample is over was cut away: with the first entry whose text is
        gone, all that follow are. `sealed` shuts out entries without text at the end of the text.
        """
        self._released += num_characters
        end = self._released if sealed else self._released + 1
        ready: list[OutputToken] = []
        while self._waiting:
            entry = self._waiting[0]
            if entry.text_offset >= (end if entry.special else self._released):
                break
            ready.append(self._waiting.popleft())
        return tuple(ready)
