"""Tokenizers small enough to see through, for the tests of this folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from engine.text.hf_token_bytes import byte_level_bytes
from engine.text.hf_tokenizer import HfTokenizer, HfTokenizerConfig
from engine.text.tiktoken_tokenizer import TiktokenTokenizer
from engine.text.vocabulary import Vocabulary

PATTERN = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPECIALS = ("<bos>", "<eos>", "<|turn|>")
TEXTS = ["the cat sat on the mat", "naïve café 😀 日本語 😀😀", "hello world, the end.\n\n"] * 4


@lru_cache
def byte_level_definition() -> str:
    """The text of a byte-level `tokenizer.json` with a BOS, an EOS and a token `<think>`."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIALS])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    bos = tokenizer.token_to_id("<bos>")
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", bos)]
    )
    return tokenizer.to_str()


@lru_cache
def byte_level() -> HfTokenizer:
    config = HfTokenizerConfig(bos_token="<bos>", eos_token="<eos>")
    return HfTokenizer(byte_level_definition(), config)


@lru_cache
def metaspace() -> HfTokenizer:
    """In the manner of Llama 2: metaspace, byte tokens, a space in front of every text."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "h", "e", "l", "o", "he", "ll", "hell", "hello", "▁hello"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("▁", "hello")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return HfTokenizer(tokenizer.to_str(), HfTokenizerConfig(bos_token="<s>", eos_token="</s>"))


def write_tiktoken(folder: Path, **changes: object) -> None:
    """The byte-level tokenizer's two tiktoken files; `changes` go into `tiktoken.json`."""
    model = Tokenizer.from_str(byte_level_definition())
    ranks = {byte_level_bytes(t): i for t, i in model.get_vocab(with_added_tokens=False).items()}
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    (folder / "ranks.tiktoken").write_text("".join(lines))
    description = {
        "pattern": PATTERN,
        "special_tokens": {name: model.token_to_id(name) for name in SPECIALS},
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "ranks": "ranks.tiktoken",
    }
    (folder / "tiktoken.json").write_text(json.dumps({**description, **changes}))


def tiktoken_in(folder: Path) -> TiktokenTokenizer:
    write_tiktoken(folder)
    return TiktokenTokenizer.load(folder)


class PiecesTokenizer:
    """A tokenizer that is nothing but a list of byte strings; it cannot encode."""

    def __init__(self, pieces: Sequence[bytes], special_ids: Sequence[int] = ()) -> None:
        self._vocabulary = Vocabulary(dict(enumerate(pieces)), special_ids)
        self.vocab_size = len(pieces)
        self.bos_token_id = None
        self.eos_token_ids = ()
        self.special_tokens: Mapping[str, int] = {}
        self.bos_token = None
        self.eos_token = None

    def encode(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]:
        raise NotImplementedError

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
