"""From the corpus to what training reads: a tokenizer and arrays of ids, kept in a work folder.

Knows which texts the tokenizer learns from and where things lie. Does not know batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tqdm import tqdm

from engine.default_model.training.chat import TEMPLATE, Tokens, document_tokens, plain_text
from engine.default_model.training.conversation import Document
from engine.default_model.training.corpus import Source, read_corpus, split
from engine.default_model.training.recipe import Recipe
from engine.default_model.training.synthetic.generators import draw
from engine.default_model.training.token_store import load_tokens, save_tokens
from engine.default_model.training.tokenizer_words import extra_texts
from engine.default_model.training.tokens import train_tokenizer, write_tokenizer

# Of the books every third, so that their old words do not fill the vocabulary.
TOKENIZER_EVERY = {"gutenberg_children": 3}
TOKENIZER_TIMES = {"tinystories": 2}


@dataclass(frozen=True)
class Prepared:
    """Tokenized documents by source: to learn from, and to be judged by."""

    train: dict[str, list[Tokens]]
    held_out: dict[str, list[Tokens]]


def prepare(corpus: Path, work: Path, recipe: Recipe) -> Prepared:
    """Tokenizer (`files/`) and arrays in the work folder, made first if they are missing."""
    learned, judged = work / "train.npz", work / "held_out.npz"
    if not (learned.exists() and judged.exists()):
        tokenizer = tokenizer_for(corpus, recipe.shape.vocab_size, work / "files")
        sources = read_sources(corpus, recipe)
        save_tokens({n: tokenized(tokenizer, n, s.train) for n, s in sources.items()}, learned)
        save_tokens({n: tokenized(tokenizer, n, s.held_out) for n, s in sources.items()}, judged)
    return Prepared(load_tokens(learned), load_tokens(judged))


def read_sources(corpus: Path, recipe: Recipe) -> dict[str, Source]:
    """The corpus, and the conversations written by rules, by name."""
    written = {name: draw(name, count, recipe.seed) for name, count in recipe.synthetic.items()}
    return read_corpus(corpus) | {name: split(name, drawn) for name, drawn in written.items()}


def tokenizer_texts(corpus: Path) -> list[str]:
    """What the tokenizer learns from: the corpus, and words that it lacks."""
    texts = extra_texts()
    for name, source in read_corpus(corpus).items():
        chosen = source.train[:: TOKENIZER_EVERY.get(name, 1)]
        texts += [plain_text(document) for document in chosen] * TOKENIZER_TIMES.get(name, 1)
    return texts


def tokenizer_for(corpus: Path, vocab_size: int, folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, trained and written there first if it is missing."""
    path = folder / "tokenizer.json"
    if not path.exists():
        tokenizer = train_tokenizer(tokenizer_texts(corpus), vocab_size)
        write_tokenizer(tokenizer, TEMPLATE, folder)
    return Tokenizer.from_file(str(path))


def tokenized(tokenizer: Tokenizer, name: str, documents: list[Document]) -> list[Tokens]:
    """All documents as ids."""
    progress = tqdm(documents, desc=name, leave=False, unit="documents")
    return [document_tokens(tokenizer, document) for document in progress]
