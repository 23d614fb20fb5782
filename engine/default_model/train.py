"""Command line for training, judging and exporting the embedded default model.

Knows arguments and the order of the steps; each step lives in `training/`.

    python -m engine.default_model.train prepare --corpus CORPUS --work WORK
    python -m engine.default_model.train run --corpus CORPUS --work WORK [--tokens N | --minutes M]
    python -m engine.default_model.train run --smoke --work WORK
    python -m engine.default_model.train evaluate --corpus CORPUS [--files FILES]

`run` leaves the exported model in WORK/files and, started again, continues where it stopped. It
prepares what `prepare` has not, so that alone is for training on another machine.
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

from engine.default_model.training.evaluate import (
    GREEDY,
    SAMPLED,
    exact_turns,
    held_out_losses,
    replies_to_all,
    summary,
)
from engine.default_model.training.export import export, load
from engine.default_model.training.loop import Budget, Feed, Run
from engine.default_model.training.model import Decoder
from engine.default_model.training.prepare import prepare, read_sources, tokenized
from engine.default_model.training.recipe import SMOKE, Recipe
from engine.default_model.training.sample_corpus import write_sample_corpus

FILES = Path(__file__).parent / "files"
SMOKE_TOKENS = 60 * 512
JUDGED = ("tools", "json_answers", "synth")
"""Sources with one right answer to most requests."""
EXACT = 100
"""So many of their held-out conversations are answered."""


def prepare_only(arguments: argparse.Namespace) -> None:
    """Leaves tokenizer and token arrays in the work folder."""
    recipe = recipe_for(arguments)
    prepare(corpus_for(arguments), arguments.work, recipe)


def corpus_for(arguments: argparse.Namespace) -> Path:
    """The corpus folder; without one, a toy is written to learn from."""
    if arguments.corpus is not None:
        return arguments.corpus
    folder: Path = arguments.work / "corpus"
    write_sample_corpus(folder)
    return folder


def recipe_for(arguments: argparse.Namespace) -> Recipe:
    """The recipe of this run."""
    return SMOKE if arguments.smoke else Recipe()


def run(arguments: argparse.Namespace) -> None:
    """Trains from the corpus to an exported model under the work folder."""
    recipe = recipe_for(arguments)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(arguments.threads)
    data = prepare(corpus_for(arguments), arguments.work, recipe)
    files = arguments.work / "files"
    model = Decoder(recipe.shape).to(arguments.device)

    def on_checkpoint(model: Decoder) -> dict[str, Any]:
        export(model, files)
        return {"held_out": held_out_losses(model, data.held_out, limit=8)}

    tokens = SMOKE_TOKENS if arguments.smoke else arguments.tokens
    budget = Budget(tokens, arguments.minutes * 60 if arguments.minutes else None)
    job = Run(
        folder=arguments.work,
        recipe=recipe,
        device=arguments.device,
        checkpoint_seconds=arguments.checkpoint_seconds,
        compiled=arguments.compile,
        dtype=getattr(torch, arguments.dtype),
    )
    job.train(model, Feed(data.train, recipe), budget, on_checkpoint)


def evaluate(arguments: argparse.Namespace) -> None:
    """Writes a JSON report of held-out losses and replies to standard output."""
    torch.set_num_threads(arguments.threads)
    model = load(arguments.files)
    tokenizer = Tokenizer.from_file(str(arguments.files / "tokenizer.json"))
    report: dict[str, Any] = {}
    if arguments.corpus is not None:
        sources = read_sources(arguments.corpus, Recipe())
        held_out = {n: tokenized(tokenizer, n, s.held_out) for n, s in sources.items()}
        report["held_out"] = held_out_losses(model, held_out)
        report["exact_first_turns"] = {
            name: round(exact_turns(model, tokenizer, held_out[name], EXACT), 3) for name in JUDGED
        }
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
    ready = commands.add_parser("prepare", help="train the tokenizer and tokenize")
    ready.set_defaults(action=prepare_only)
    train = commands.add_parser("run", help="train and export")
    for command in (ready, train):
        command.add_argument("--corpus", type=Path, help="unpacked corpus folder")
        command.add_argument("--work", type=Path, required=True, help="all that is written")
        command.add_argument("--smoke", action="store_true", help="a toy model, done in seconds")
    train.add_argument("--tokens", type=int, default=60_000_000, help="repeatable budget")
    train.add_argument("--minutes", type=float, help="wall-clock budget instead of tokens")
    train.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    train.add_argument("--compile", action="store_true", help="torch.compile the loss")
    train.add_argument("--checkpoint-seconds", type=float, default=300.0)
    train.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of matrix products"
    )
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
    if arguments.command != "evaluate" and arguments.corpus is None and not arguments.smoke:
        top.error(f"{arguments.command} needs --corpus (or --smoke)")
    arguments.action(arguments)


if __name__ == "__main__":
    main()
