"""What the rest of the engine may ask of a tokenizer, and how one is found in a model directory.

Knows no vocabulary format itself: each has an adapter in a file of its own. Knows nothing of chat
templates or of text arriving in pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from engine.errors import ModelLoadError
from engine.text.hf_tokenizer import HfTokenizer
from engine.text.tiktoken_tokenizer import TiktokenTokenizer


class Tokenizer(Protocol):
    """Text to ids and back. Immutable, and safe to share between threads."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id; a model may have more rows than that."""
        ...

    @property
    def bos_token_id(self) -> int | None:
        """The id put in front of a text, when the model has one."""
        ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids by which the tokenizer's own files end a text.

        A model's generation settings may name more; whoever reads those adds them.
        """
        ...

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Name -> id of the special (control) tokens."""
        ...

    @property
    def bos_token(self) -> str | None:
        """The name of `bos_token_id`, as chat templates write it."""
        ...

    @property
    def eos_token(self) -> str | None:
        """The name of the tokenizer's own end token, as chat templates write it."""
        ...

    def encode(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Token ids of a text.

        `add_special_tokens` adds what the tokenizer puts around a text, commonly a BOS in front.
        With `parse_special` a special token spelled in the text becomes its id, which a rendered
        chat template needs. It is the default for plain prompts too, as it is with Hugging Face
        tokenizers: a caller of a completion endpoint may write the markup of the model. Without
        it such a name is ordinary text. Lone surrogates become U+FFFD.
        """
        ...

    def decode(
        self, token_ids: Sequence[int], *, skip_special: bool = False, continuation: bool = False
    ) -> str:
        """Text of ids: their bytes joined, invalid UTF-8 as U+FFFD.

        A sentencepiece tokenizer puts a space in front of any text it encodes; that one space is
        removed again, so that encoding and decoding a text gives it back. `continuation` says
        that the ids follow a prompt: nothing was put in front of them, and a leading space is
        the model's own and stays. No other clean-up is done.
        """
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of one token, not necessarily valid UTF-8 on their own.

        A special token gives its name's bytes, an id that stands for no token none.
        """
        ...

    def is_special(self, token_id: int) -> bool:
        """Whether the id is a special (control) token."""
        ...


def load_tokenizer(model_dir: str | Path) -> Tokenizer:
    """The tokenizer of a model directory: `tiktoken.json` if there, else `tokenizer.json`.

    Raises:
        ModelLoadError: neither file is there, or one is broken.
    """
    folder = Path(model_dir)
    if (folder / "tiktoken.json").is_file():
        return TiktokenTokenizer.load(folder)
    if (folder / "tokenizer.json").is_file():
        return HfTokenizer.load(folder)
    raise ModelLoadError(f"No tokenizer in {folder}: neither tiktoken.json nor tokenizer.json.")
