"""The training loop: steps, budget, checkpoints.

Knows how far a run is (by tokens or by the clock), when to change phase, and how to resume. Does
not know where batches come from in detail, nor how a model is judged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from engine.default_model.training.batches import Batch, ChatRows, PackedRows
from engine.default_model.training.chat import Tokens
from engine.default_model.training.model import Decoder
from engine.default_model.training.optim import build_optimizers, set_rates
from engine.default_model.training.recipe import Recipe


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of tokens, or wall-clock seconds where `seconds` is set.

    Tokens make a run repeatable. Seconds make it end on time on a machine whose speed varies.
    """

    tokens: int
    seconds: float | None = None


class Clock:
    """Progress from 0 to 1 against a budget, continued across restarts."""

    def __init__(self, budget: Budget, progress: float = 0.0, tokens: int = 0) -> None:
        self.budget, self.tokens = budget, tokens
        self._before, self._began = progress, time.monotonic()

    def progress(self) -> float:
        """Share of the budget used."""
        if self.budget.seconds is None:
            return min(self.tokens / self.budget.tokens, 1.0)
        passed = (time.monotonic() - self._began) / self.budget.seconds
        return min(self._before + (1.0 - self._before) * passed, 1.0)


class Feed:
    """Chooses the kind of batch that belongs to a point of the run."""

    def __init__(self, sources: dict[str, list[Tokens]], recipe: Recipe) -> None:
        self.recipe = recipe
        chats = {n: [t for t in tokens if t.own.any()] for n, tokens in sources.items()}
        self.packed = PackedRows(sources, recipe.pretrain_mix, recipe.seed, recipe.synthetic_mix)
        self.chats = ChatRows(chats, recipe.chat_mix, recipe.chat_lengths, recipe.seed)

    def batch(self, progress: float) -> Batch:
        """Next batch at `progress` (0 to 1)."""
        recipe = self.recipe
        chatting = progress >= recipe.chat_from
        if chatting and self.chats.rng.random() >= recipe.rehearsal:
            return self.chats.batch(recipe.tokens_per_step)
        length = recipe.row_lengths[progress >= recipe.long_rows_from]
        later = progress >= recipe.synthetic_from and not chatting
        return self.packed.batch(recipe.tokens_per_step, length, later)

    def state(self) -> dict[str, Any]:
        """Everything needed to continue exactly here."""
        return {"packed": self.packed.state(), "chats": self.chats.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.packed.restore(state["packed"])
        self.chats.restore(state["chats"])


@dataclass
class Run:
    """A training run on disk: `checkpoint.pt` to resume from and `log.jsonl` to read."""

    folder: Path
    recipe: Recipe
    device: str
    checkpoint_seconds: float = 300.0
    compiled: bool = False
    dtype: torch.dtype = torch.float32
    """Type of matrix products; weights and sums stay in float32."""

    def train(
        self,
        model: Decoder,
        feed: Feed,
        budget: Budget,
        on_checkpoint: Callable[[Decoder], dict[str, Any]],
    ) -> None:
        """Trains to the end of the budget, resuming from the folder's checkpoint if there is one.

        `on_checkpoint` is given the model and returns what to add to the log line.
        """
        optimizers = build_optimizers(model, self.recipe, self.dtype)
        clock = self._resume(model, optimizers, feed, budget)
        loss_of = torch.compile(model.loss, dynamic=False) if self.compiled else model.loss
        saved, average = time.monotonic(), None
        with tqdm(
            total=100.0,
            initial=round(100 * clock.progress(), 1),
            unit="%",
            bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}",
        ) as bar:
            while (progress := clock.progress()) < 1.0:
                factor = set_rates(optimizers, self.recipe, progress)
                batch = feed.batch(progress)
                loss = self._step(model, loss_of, optimizers, batch)
                clock.tokens += batch.ids.numel()
                average = loss if average is None else 0.98 * average + 0.02 * loss
                bar.update(100 * clock.progress() - bar.n)
                bar.set_postfix(loss=f"{average:.3f}", rate=f"{factor:.2f}", tokens=clock.tokens)
                if time.monotonic() - saved > self.checkpoint_seconds:
                    self._save(model, optimizers, feed, clock)
                    self._log(clock, average, on_checkpoint(model))
                    saved = time.monotonic()
        self._save(model, optimizers, feed, clock)
        self._log(clock, average, on_checkpoint(model))

    def _step(
        self,
        model: Decoder,
        loss_of: Callable[..., torch.Tensor],
        optimizers: list[torch.optim.Optimizer],
        batch: Batch,
    ) -> float:
        ids, targets = batch.ids.to(self.device), batch.targets.to(self.device)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            loss = loss_of(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), self.recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _save(
        self, model: Decoder, optimizers: list[torch.optim.Optimizer], feed: Feed, clock: Clock
    ) -> None:
        partial = self.folder / "checkpoint.partial"
        torch.save(
            {
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "feed": feed.state(),
                "progress": clock.progress(),
                "tokens": clock.tokens,
            },
            partial,
        )
        partial.replace(self.folder / "checkpoint.pt")

    def _resume(
        self,
        model: Decoder,
        optimizers: list[torch.optim.Optimizer],
        feed: Feed,
        budget: Budget,
    ) -> Clock:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return Clock(budget)
        state = torch.load(path, map_location=self.device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        feed.restore(state["feed"])
        return Clock(budget, state["progress"], state["tokens"])

    def _log(self, clock: Clock, loss: float | None, extra: dict[str, Any]) -> None:
        line = {
            "time": round(time.time()),
            "progress": round(clock.progress(), 4),
            "tokens": clock.tokens,
            "loss": loss and round(loss, 4),
            **extra,
        }
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
