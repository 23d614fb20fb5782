"""The bytes of every token id, and decoding built on nothing but them.

Knows ids, bytes and which tokens are special; does not know how text is cut into tokens, nor any
file format. Because decoding is a concatenation of bytes, decoding piece by piece and decoding
everything at once cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Vocabulary:
    """Token id -> exact bytes, with the special tokens marked.

    `strips_leading_space` is for tokenizers that put a space in front of every text they encode
    (sentencepiece's habit): a whole decoded text then loses one leading space again.
    """

    def __init__(
        self,
        tokens: Mapping[int, bytes],
        special_ids: Iterable[int],
        *,
        strips_leading_space: bool = False,
    ) -> None:
        self._bytes: list[bytes] = [b""] * (max(tokens, default=-1) + 1)
        for token_id, token in tokens.items():
            self._bytes[token_id] = token
        self._special_ids = frozenset(special_ids)
        self._strips_leading_space = strips_leading_space

    def __len__(self) -> int:
        """One more than the largest id."""
        return len(self._bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """The token's bytes; empty for an id that stands for no token.

        Models often have more rows than their tokenizer has tokens, so such ids do turn up.
        """
        if 0 <= token_id < len(self._bytes):
            return self._bytes[token_id]
        return b""

    def is_special(self, token_id: int) -> bool:
        """Whether the id is a control token, which ordinary text never produces."""
        return token_id in self._special_ids

    def decode(self, token_ids: Sequence[int], *, skip_special: bool, continuation: bool) -> str:
        """Text of the ids; invalid UTF-8 becomes U+FFFD. See `Tokenizer.decode`."""
        kept = (i for i in token_ids if not (skip_special and i in self._special_ids))
        text = b"".join(map(self.token_bytes, kept)).decode("utf-8", "replace")
        if self._strips_leading_space and not continuation:
            return text.removeprefix(" ")
        return text


def well_formed(text: str) -> str:
    """The text with lone surrogates (JSON can spell them, UTF-8 cannot) turned into U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
