"""Command line for training, judging and exporting the embedded default model.

Knows arguments and the order of the steps; each step lives in `training/`.

    python -m engine.default_model.train run --corpus CORPUS --work WORK [--tokens N | --minutes M]
    python -m engine.default_model.train run --smoke --work WORK
    python -m engine.default_model.train evaluate --corpus CORPUS [--files FILES]

`run` leaves the exported model in WORK/files and, started again, continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from engine.default_model.training.chat import TEMPLATE, Tokens, document_tokens
from engine.default_model.training.corpus import Document, Source, plain_text, read_corpus
from engine.default_model.training.evaluate import (
    GREEDY,
    SAMPLED,
    held_out_losses,
    replies_to_all,
    summary,
)
from engine.default_model.training.export import export, load
from engine.default_model.training.loop import Budget, Feed, Run
from engine.default_model.training.model import Decoder
from engine.default_model.training.recipe import SMOKE, Recipe
from engine.default_model.training.sample_corpus import write_sample_corpus
from engine.default_model.training.tokens import train_tokenizer, write_tokenizer

FILES = Path(__file__).parent / "files"
SMOKE_TOKENS = 60 * 512


def tokenizer_texts(sources: dict[str, Source]) -> list[str]:
    """What the tokenizer learns from: a third of the books, the short stories twice."""
    texts: list[str] = []
    for name, source in sources.items():
        chosen = source.train[::3] if name == "gutenberg_children" else source.train
        repeats = 2 if name == "tinystories" else 1
        texts += [plain_text(document) for document in chosen] * repeats
    return texts


def tokenizer_for(sources: dict[str, Source], vocab_size: int, folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, trained and written there first if it is missing."""
    path = folder / "tokenizer.json"
    if not path.exists():
        tokenizer = train_tokenizer(tokenizer_texts(sources), vocab_size)
        write_tokenizer(tokenizer, TEMPLATE, folder)
    return Tokenizer.from_file(str(path))


def tokenized(tokenizer: Tokenizer, documents: list[Document]) -> list[Tokens]:
    """All documents as ids."""
    return [document_tokens(tokenizer, document) for document in documents]


def run(arguments: argparse.Namespace) -> None:
    """Trains from the corpus to an exported model under the work folder."""
    recipe = SMOKE if arguments.smoke else Recipe()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    files = arguments.work / "files"
    if arguments.smoke and arguments.corpus is None:
        arguments.corpus = arguments.work / "corpus"
        write_sample_corpus(arguments.corpus)
    sources = read_corpus(arguments.corpus)
    tokenizer = tokenizer_for(sources, recipe.shape.vocab_size, files)
    train = {n: tokenized(tokenizer, source.train) for n, source in sources.items()}
    held_out = {n: tokenized(tokenizer, source.held_out) for n, source in sources.items()}
    model = Decoder(recipe.shape).to(arguments.device)

    def on_checkpoint(model: Decoder) -> dict[str, Any]:
        export(model, files)
        return {"held_out": held_out_losses(model, held_out, limit=8)}

    tokens = SMOKE_TOKENS if arguments.smoke else arguments.tokens
    budget = Budget(tokens, arguments.minutes * 60 if arguments.minutes else None)
    job = Run(
        folder=arguments.work,
        recipe=recipe,
        device=arguments.device,
        checkpoint_seconds=arguments.checkpoint_seconds,
        compiled=arguments.compile,
    )
    job.train(model, Feed(train, recipe), budget, on_checkpoint)


def evaluate(arguments: argparse.Namespace) -> None:
    """Writes a JSON report of held-out losses and replies to standard output."""
    torch.set_num_threads(arguments.threads)
    model = load(arguments.files)
    tokenizer = Tokenizer.from_file(str(arguments.files / "tokenizer.json"))
    report: dict[str, Any] = {}
    if arguments.corpus is not None:
        sources = read_corpus(arguments.corpus)
        held_out = {n: tokenized(tokenizer, source.held_out) for n, source in sources.items()}
        report["held_out"] = held_out_losses(model, held_out)
    for name, sampling in (("greedy", GREEDY), ("sampled", SAMPLED)):
        replies = replies_to_all(model, tokenizer, sampling, arguments.reply_tokens)
        report[name] = summary(replies)
        report[f"{name}_replies"] = [asdict(reply) for reply in replies]
    sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True)
    train = commands.add_parser("run", help="train and export")
    train.add_argument("--corpus", type=Path, help="unpacked corpus folder")
    train.add_argument("--work", type=Path, required=True, help="checkpoint, log and export")
    train.add_argument("--tokens", type=int, default=60_000_000, help="repeatable budget")
    train.add_argument("--minutes", type=float, help="wall-clock budget instead of tokens")
    train.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    train.add_argument("--compile", action="store_true", help="torch.compile the loss")
    train.add_argument("--checkpoint-seconds", type=float, default=300.0)
    train.add_argument("--smoke", action="store_true", help="a toy model, done in seconds")
    train.set_defaults(action=run)
    judge = commands.add_parser("evaluate", help="report on an exported model")
    judge.add_argument("--corpus", type=Path, help="adds held-out losses")
    judge.add_argument("--files", type=Path, default=FILES)
    judge.add_argument("--reply-tokens", type=int, default=400, help="longest reply")
    judge.set_defaults(action=evaluate)
    for command in (train, judge):
        command.add_argument("--threads", type=int, default=1)
    return top


def main(words: list[str] | None = None) -> None:
    """Runs one command given as `words`, by default the process's own arguments."""
    top = parser()
    arguments = top.parse_args(words)
    if arguments.command == "run" and arguments.corpus is None and not arguments.smoke:
        top.error("run needs --corpus (or --smoke)")
    arguments.action(arguments)


if __name__ == "__main__":
    main()
