"""Byte-level BPE from a rank file, by tiktoken.

Knows `tiktoken.json` and the base64 rank file beside it; reads nothing else, and no network.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import tiktoken

from engine.errors import InvalidParameter, ModelLoadError
from engine.text.model_files import read_json, read_text
from engine.text.vocabulary import Vocabulary, well_formed

_LONG_RUN = re.compile(r"\s{5000}")
"""tiktoken's regex gives up on backtracking through much longer runs of white space."""


class TiktokenFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `tiktoken.json` says. A token's id is its rank in the file named by `ranks`."""

    pattern: str
    special_tokens: dict[str, int]
    ranks: str = "tokenizer.tiktoken"
    bos_token: str | None = None
    eos_token: str | None = None


class TiktokenTokenizer:
    """The `Tokenizer` of a `tiktoken.json`."""

    def __init__(self, description: TiktokenFile, ranks: dict[bytes, int]) -> None:
        """Raises `ModelLoadError` when ranks and special tokens do not make a tokenizer."""
        _check(description, ranks)
        self._special_tokens = description.special_tokens
        self._bos_token = description.bos_token
        self._eos_token = description.eos_token
        try:
            self._encoding = tiktoken.Encoding(
                "model",
                pat_str=description.pattern,
                mergeable_ranks=ranks,
                special_tokens=description.special_tokens,
            )
        except ValueError as error:
            raise ModelLoadError(f"Cannot build the tokenizer: {error}") from error
        tokens = {rank: token for token, rank in ranks.items()}
        tokens |= {i: name.encode() for name, i in description.special_tokens.items()}
        self._vocabulary = Vocabulary(tokens, description.special_tokens.values())

    @classmethod
    def load(cls, folder: Path) -> TiktokenTokenizer:
        """From a directory that holds `tiktoken.json`. Raises `ModelLoadError`."""
        description = read_json(folder / "tiktoken.json", TiktokenFile)
        return cls(description, read_ranks(folder / description.ranks))

    @property
    def vocab_size(self) -> int:
        return len(self._vocabulary)

    @property
    def bos_token_id(self) -> int | None:
        return None if self._bos_token is None else self._special_tokens[self._bos_token]

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return () if self._eos_token is None else (self._special_tokens[self._eos_token],)

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return self._special_tokens

    @property
    def bos_token(self) -> str | None:
        return self._bos_token

    @property
    def eos_token(self) -> str | None:
        return self._eos_token

    def encode(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]:
        """See `Tokenizer.encode`; BOS is all that is ever added.

        Raises:
            InvalidParameter: the pattern gives up on the text even in pieces.
        """
        text = well_formed(text)
        try:
            ids = self._encode_piece(text, parse_special)
        except ValueError:
            ids = self._encode_in_pieces(text, parse_special)
        bos = self.bos_token_id
        return [bos, *ids] if add_special_tokens and bos is not None else ids

    def _encode_in_pieces(self, text: str, parse_special: bool) -> list[int]:
        """Same text, but maybe not the fewest tokens where an overlong run was cut."""
        try:
            return [i for piece in _pieces(text) for i in self._encode_piece(piece, parse_special)]
        except ValueError as error:
            raise InvalidParameter("prompt", text, "this text cannot be tokenized.") from error

    def _encode_piece(self, text: str, parse_special: bool) -> list[int]:
        if parse_special:
            return self._encoding.encode(text, allowed_special="all")
        return self._encoding.encode_ordinary(text)

    def decode(
        self, token_ids: Sequence[int], *, skip_special: bool = False, continuation: bool = False
    ) -> str:
        return self._vocabulary.decode(
            token_ids, skip_special=skip_special, continuation=continuation
        )

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)

    def is_special(self, token_id: int) -> bool:
        return self._vocabulary.is_special(token_id)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Token bytes -> rank, from lines of base64 and rank. Raises `ModelLoadError`."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ModelLoadError(f"{path}, line {number}: {error}") from error
    return ranks


def _check(description: TiktokenFile, ranks: Mapping[bytes, int]) -> None:
    """tiktoken panics while encoding if any of this is wrong, so it is looked at before."""
    if missing := [byte for byte in range(256) if bytes((byte,)) not in ranks]:
        raise ModelLoadError(f"The ranks lack {len(missing)} single bytes, such as {missing[0]}.")
    ids = [*ranks.values(), *description.special_tokens.values()]
    if len(set(ids)) != len(ids) or min(ids) < 0:
        raise ModelLoadError("Two tokens share an id, or an id is negative.")
    for name in (description.bos_token, description.eos_token):
        if name is not None and name not in description.special_tokens:
            raise ModelLoadError(f"{name!r} is not among the special tokens.")


def _pieces(text: str) -> list[str]:
    """The text cut inside its overlong runs of white space, where no special token can be."""
    cuts = [0, *(match.end() for match in _LONG_RUN.finditer(text)), len(text)]
    return [text[start:stop] for start, stop in zip(cuts, cuts[1:], strict=False)]
