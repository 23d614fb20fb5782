"""Tokens as text, and log-probabilities in the two shapes of this dialect.

Completions have four parallel arrays over every token; chat has a list of objects over the tokens
that have text. Both report the model's own distribution as the engine gives it.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Sequence

from engine import Engine, OutputToken, TokenLogprob

NO_CHANCE = -9999.0
"""What JSON gets instead of minus infinity."""


def finite(logprob: float) -> float:
    """A number that JSON can hold."""
    return logprob if logprob > NO_CHANCE and math.isfinite(logprob) else NO_CHANCE


def token_text(engine: Engine, token_id: int, *, partial_prefix: str) -> str:
    """The token's text; one that is no valid UTF-8 alone is spelled in escaped bytes."""
    data = engine.token_bytes(token_id)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return partial_prefix + "".join(f"\\x{byte:02x}" for byte in data)


def token_name(token_id: int) -> str:
    """What stands for a token's text under `return_tokens_as_token_ids`: texts can collide."""
    return f"token_id:{token_id}"


def prompt_text(engine: Engine, token_ids: Sequence[int], *, skip_special: bool) -> str:
    """The prompt as text, by the rule for generated text: special tokens are not shown."""
    if skip_special:
        return engine.decode(tuple(t for t in token_ids if not engine.is_special(t)))
    return engine.decode(tuple(token_ids))


class LegacyLogprobs:
    """Builds the `logprobs` objects of one completions choice, piece by piece."""

    def __init__(
        self, engine: Engine, count: int, text_offset: int, *, as_ids: bool = False
    ) -> None:
        self._engine = engine
        self._as_ids = as_ids
        self._count = count
        self._text_offset = text_offset  # code points of the prompt

    def of_prompt(
        self, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob | None], skip_special: bool
    ) -> dict[str, list[object]]:
        """The arrays over an echoed prompt. The first token has no log-probability."""
        arrays = new_arrays()
        offsets = _prompt_offsets(self._engine, token_ids, skip_special=skip_special)
        for token_id, logprob, offset in zip(token_ids, logprobs, offsets, strict=True):
            self._add(arrays, token_id, logprob, offset)
        return arrays

    def of_output(self, tokens: Iterable[OutputToken]) -> dict[str, list[object]]:
        """The arrays over generated tokens, a sampled end-of-sequence included."""
        arrays = new_arrays()
        for token in tokens:
            offset = self._text_offset + token.text_offset
            self._add(arrays, token.token_id, token.logprob, offset)
        return arrays

    def _add(
        self,
        arrays: dict[str, list[object]],
        token_id: int,
        logprob: TokenLogprob | None,
        offset: int,
    ) -> None:
        text = self._text(token_id)
        arrays["tokens"].append(text)
        arrays["text_offset"].append(offset)
        if logprob is None:
            arrays["token_logprobs"].append(None)
            arrays["top_logprobs"].append(None)
            return
        chosen = finite(logprob.logprob)
        arrays["token_logprobs"].append(chosen)
        top: dict[str, float] = {}
        for other, value in (*logprob.top[: self._count], (token_id, chosen)):
            key = self._text(other)
            top[key] = max(finite(value), top.get(key, NO_CHANCE))
        arrays["top_logprobs"].append(top)

    def _text(self, token_id: int) -> str:
        if self._as_ids:
            return token_name(token_id)
        return token_text(self._engine, token_id, partial_prefix="bytes:")


def new_arrays() -> dict[str, list[object]]:
    """The four parallel arrays, empty."""
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def join_arrays(
    first: dict[str, list[object]], second: dict[str, list[object]]
) -> dict[str, list[object]]:
    """One object after the other."""
    return {name: first[name] + second[name] for name in first}


def _prompt_offsets(
    engine: Engine, token_ids: Sequence[int], *, skip_special: bool
) -> Iterable[int]:
    """Where each token starts, in code points; parts of one character share its place."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offset = 0
    for token_id in token_ids:
        yield offset
        if not (skip_special and engine.is_special(token_id)):
            offset += len(decoder.decode(engine.token_bytes(token_id)))


class ChatLogprobs:
    """Builds the `logprobs` objects of one chat choice. Special tokens have no entry."""

    def __init__(self, engine: Engine, count: int, *, as_ids: bool = False) -> None:
        self._engine = engine
        self._as_ids = as_ids
        self._count = count
        self._surplus = 0  # bytes of tokens beyond the bytes of text

    def of_delta(self, tokens: Iterable[OutputToken], text: str, *, cut: bool) -> dict[str, object]:
        """The entries of one delta. `cut`: a stop string ended the sample here, so the last
        entry's bytes end where the text does."""
        content: list[dict[str, object]] = []
        shown = [t for t in tokens if not t.special and t.logprob is not None]
        self._surplus -= len(text.encode())
        for token in shown:
            data = self._engine.token_bytes(token.token_id)
            self._surplus += len(data)
            if cut and token is shown[-1] and self._surplus > 0:
                data = data[: -self._surplus]
            content.append(self._entry(token) | {"bytes": list(data)})
        return {"content": content, "refusal": None}

    def _entry(self, token: OutputToken) -> dict[str, object]:
        assert token.logprob is not None
        top = token.logprob.top[: self._count]
        alternatives = [self._value(other, value) for other, value in top]
        chosen = self._value(token.token_id, token.logprob.logprob)
        return chosen | {"top_logprobs": alternatives}

    def _value(self, token_id: int, logprob: float) -> dict[str, object]:
        special = self._engine.is_special(token_id)
        text = token_text(self._engine, token_id, partial_prefix="")
        return {
            "token": token_name(token_id) if self._as_ids else text,
            "logprob": finite(logprob),
            "bytes": None if special else list(self._engine.token_bytes(token_id)),
        }


def prompt_logprobs_object(
    engine: Engine, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob | None], count: int
) -> list[dict[str, object] | None]:
    """The `prompt_logprobs` extension: per prompt token null (the first) or id -> values.

    `rank` is null for a prompt token that is not among the `count` most likely.
    """
    positions: list[dict[str, object] | None] = []
    for token_id, logprob in zip(token_ids, logprobs, strict=True):
        if logprob is None:
            positions.append(None)
            continue
        ranked: list[tuple[int, float, int | None]] = [
            (other, value, rank) for rank, (other, value) in enumerate(logprob.top[:count], 1)
        ]
        if all(other != token_id for other, _, _ in ranked):
            ranked.append((token_id, logprob.logprob, None))
        positions.append(
            {
                str(other): {
                    "logprob": finite(value),
                    "rank": rank,
                    "decoded_token": token_text(engine, other, partial_prefix=""),
                }
                for other, value, rank in ranked
            }
        )
    return positions
