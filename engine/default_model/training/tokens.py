"""Trains the byte-level BPE tokenizer and writes it in two formats that encode alike.

Knows the `tokenizers` library, tiktoken's rank file and the special tokens' ids. A token's id is
its merge rank, so the rank file alone is enough. Does not know what the tokens are used for.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

BOS, TURN_START, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL_TOKENS = (BOS, TURN_START, TURN_END, PAD, *(f"<|reserved_{i}|>" for i in range(4)))

# Words with one leading space or sign, single digits, runs of signs, runs of white space.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns merges from `texts`; `vocab_size` counts bytes, merges and special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size - len(SPECIAL_TOKENS):
        raise ValueError(f"the text is too small for a vocabulary of {vocab_size}")
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL_TOKENS])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return tokenizer


def byte_of_character() -> dict[str, int]:
    """Inverse of the byte-level alphabet: printable stand-in character -> byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    table.update({chr(256 + i): byte for i, byte in enumerate(shifted)})
    return table


def token_ranks(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Bytes of every ordinary token -> its id, which is its tiktoken rank."""
    table = byte_of_character()
    return {
        bytes(table[character] for character in token): rank
        for token, rank in tokenizer.get_vocab(with_added_tokens=False).items()
    }


def write_tiktoken(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes `tokenizer.tiktoken` (base64 and rank per line) and `tiktoken.json` beside it."""
    ranks = sorted(token_ranks(tokenizer).items(), key=lambda item: item[1])
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks]
    (folder / "tokenizer.tiktoken").write_text("".join(lines), encoding="ascii")
    description = {
        "ranks": "tokenizer.tiktoken",
        "pattern": PATTERN,
        "special_tokens": {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS},
        "bos_token": BOS,
        "eos_token": TURN_END,
    }
    (folder / "tiktoken.json").write_text(json.dumps(description, indent=2) + "\n")


def write_tokenizer(tokenizer: Tokenizer, chat_template: str, folder: Path) -> None:
    """Writes every tokenizer file a server or `transformers` reads into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tiktoken(tokenizer, folder)
    (folder / "chat_template.jinja").write_text(chat_template)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "bos_token": BOS,
        "eos_token": TURN_END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for token in SPECIAL_TOKENS
        },
        "chat_template": chat_template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
