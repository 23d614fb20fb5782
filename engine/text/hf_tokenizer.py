"""Hugging Face's `tokenizer.json`, by the `tokenizers` library.

Knows that file and the names in `tokenizer_config.json`. Takes from the library the way from text
to ids only; the way back is `Vocabulary`'s, so that every id has exact bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from engine.errors import ModelLoadError
from engine.text.hf_token_bytes import spelling
from engine.text.model_files import read_json, read_text
from engine.text.vocabulary import Vocabulary, well_formed


class _NamedToken(msgspec.Struct, frozen=True):
    """A token spelled as an object, as older files do."""

    content: str


class HfTokenizerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of `tokenizer_config.json` that is used here."""

    bos_token: str | _NamedToken | None = None
    eos_token: str | _NamedToken | None = None


class HfTokenizer:
    """The `Tokenizer` of a `tokenizer.json`.

    What `add_special_tokens` adds is what the file's post-processor says.
    """

    def __init__(self, definition: str, config: HfTokenizerConfig | None = None) -> None:
        """`definition` is the text of `tokenizer.json`. Raises `ModelLoadError`."""
        config = config or HfTokenizerConfig()
        self._definition = definition
        self._tokenizer = _build(definition)
        decoder: Mapping[str, Any] | None = json.loads(definition).get("decoder")
        self._bytes_of, self._strips_leading_space = spelling(decoder)
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_tokens = {t.content: i for i, t in added.items() if t.special}
        self._bos_token = _name(config.bos_token)
        self._eos_token = _name(config.eos_token)
        self._bos_token_id = self._id_of(self._bos_token)
        self._eos_token_id = self._id_of(self._eos_token)

    @classmethod
    def load(cls, folder: Path) -> HfTokenizer:
        """From a directory that holds `tokenizer.json`. Raises `ModelLoadError`."""
        path = folder / "tokenizer_config.json"
        config = read_json(path, HfTokenizerConfig) if path.is_file() else None
        return cls(read_text(folder / "tokenizer.json"), config)

    @property
    def vocab_size(self) -> int:
        return len(self._vocabulary)

    @property
    def bos_token_id(self) -> int | None:
        return self._bos_token_id

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return () if self._eos_token_id is None else (self._eos_token_id,)

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
        """See `Tokenizer.encode`."""
        tokenizer = self._tokenizer if parse_special else self._literal_tokenizer
        return tokenizer.encode(well_formed(text), add_special_tokens=add_special_tokens).ids

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

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """On first use: a large vocabulary takes a good part of a second."""
        added = self._tokenizer.get_added_tokens_decoder()
        ordinary = self._tokenizer.get_vocab(with_added_tokens=False)
        tokens = {i: self._bytes_of(name) for name, i in ordinary.items()}
        tokens |= {i: token.content.encode() for i, token in added.items()}
        return Vocabulary(
            tokens,
            self._special_tokens.values(),
            strips_leading_space=self._strips_leading_space,
        )

    @cached_property
    def _literal_tokenizer(self) -> tokenizers.Tokenizer:
        """A second one that takes special names for text: the switch is state of the object."""
        tokenizer = _build(self._definition)
        tokenizer.encode_special_tokens = True
        return tokenizer

    def _id_of(self, name: str | None) -> int | None:
        if name is None:
            return None
        token_id = self._tokenizer.token_to_id(name)
        if token_id is None:
            raise ModelLoadError(f"tokenizer_config.json names {name!r}, which is not a token.")
        return token_id


def _build(definition: str) -> tokenizers.Tokenizer:
    """The library's tokenizer, with any truncation and padding left from training removed."""
    try:
        tokenizer = tokenizers.Tokenizer.from_str(definition)
    except Exception as error:  # noqa: BLE001 - the library raises this very class, nothing finer
        raise ModelLoadError(f"Cannot use tokenizer.json: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _name(token: str | _NamedToken | None) -> str | None:
    return token.content if isinstance(token, _NamedToken) else token
