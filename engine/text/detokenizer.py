"""Token ids to text, one at a time.

Knows bytes and UTF-8; does not know stop strings, prompts or log-probabilities. Never looks at the
prompt: generated text is a continuation, so a sentencepiece token keeps its leading space.
"""

from __future__ import annotations

from codecs import utf_8_decode

from engine.text.tokenizer import Tokenizer


class Detokenizer:
    """Joins the bytes of tokens and gives out whole characters as soon as they are complete.

    For any ids, `push` of each and then `flush` give together what `Tokenizer.decode` gives for
    all with `continuation`: bytes that are not UTF-8 become U+FFFD, exactly as
    `bytes.decode("utf-8", "replace")` has it, and the start of a character is held until its
    other bytes arrive or cannot arrive any more.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._pending = b""  # the start of a character

    def skips(self, token_id: int) -> bool:
        """Whether the token leaves no text: a skipped special token, or an id without a token."""
        if self._skip_special_tokens and self._tokenizer.is_special(token_id):
            return True
        return not self._tokenizer.token_bytes(token_id)

    def characters_before(self, token_id: int) -> int:
        """How many characters the held bytes alone become if this token is pushed next.

        0 while nothing is held, or when the token goes on with the held character; else the
        U+FFFD that end the held bytes come before the token's own first character.
        """
        if not self._pending or self.skips(token_id):
            return 0
        first_byte = self._tokenizer.token_bytes(token_id)[:1]
        text, consumed = utf_8_decode(self._pending + first_byte, "replace", False)
        if consumed <= len(self._pending):  # the token's first byte waits for more
            return len(text)
        return len(text) - 1

    def push(self, token_id: int) -> str:
        """The characters that this token completes."""
        if self._skip_special_tokens and self._tokenizer.is_special(token_id):
            return ""
        data = self._pending + self._tokenizer.token_bytes(token_id)
        text, consumed = utf_8_decode(data, "replace", False)
        self._pending = data[consumed:]
        return text

    def flush(self) -> str:
        """No more tokens: what is held becomes U+FFFD."""
        text = self._pending.decode("utf-8", "replace")
        self._pending = b""
        return text
