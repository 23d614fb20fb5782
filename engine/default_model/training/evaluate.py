"""Judges a trained model: held-out loss per source, and replies to the fixed questions.

Knows a plain sampler (no cache) and the measures. Does not know how the model was trained.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import mean

import torch
from tokenizers import Tokenizer
from torch import Tensor

from engine.default_model.training.batches import chat_batch
from engine.default_model.training.chat import Tokens, conversation_text
from engine.default_model.training.model import Decoder
from engine.default_model.training.questions import QUESTIONS, Question
from engine.default_model.training.tokens import BOS, TURN_END

ROW = 512


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; temperature 0 takes the likeliest."""

    temperature: float
    top_p: float = 1.0
    seed: int = 1


GREEDY = Sampling(0.0)
SAMPLED = Sampling(0.8, 0.95)


@dataclass(frozen=True)
class Reply:
    """A reply, and what it says about the model; entropies in nats, at temperature 1."""

    text: str
    ended: bool
    right: bool | None
    entropy: float
    top_probability: float
    repetition: float


@torch.no_grad()
def source_loss(model: Decoder, documents: list[Tokens], limit: int) -> float:
    """Mean loss in nats per token over the first `limit` documents, answers only for chats."""
    total, count = 0.0, 0
    device = model.embed_tokens.weight.device
    for document in documents[:limit]:
        marked = document if document.own.any() else Tokens(document.ids, document.ids >= 0)
        length = min(len(document.ids) - 1, ROW, model.shape.max_position_embeddings)
        batch = chat_batch([marked], length)
        targets = int((batch.targets >= 0).sum())
        if targets:
            loss = model.loss(batch.ids.to(device), batch.targets.to(device))
            total, count = total + float(loss) * targets, count + targets
    return total / max(count, 1)


def held_out_losses(
    model: Decoder, sources: dict[str, list[Tokens]], limit: int = 10_000
) -> dict[str, float]:
    """Held-out loss of every source, rounded to a thousandth of a nat."""
    return {
        name: round(source_loss(model, documents, limit), 3)
        for name, documents in sources.items()
        if documents
    }


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from logits (vocab,)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    likeliest, order = (logits / sampling.temperature).softmax(-1).sort(descending=True)
    likeliest[likeliest.cumsum(-1) - likeliest >= sampling.top_p] = 0
    return int(order[torch.multinomial(likeliest, 1, generator=generator)])


def repetition(ids: list[int], size: int = 4) -> float:
    """Share of runs of `size` tokens that occurred before in the same reply."""
    runs = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@dataclass(frozen=True)
class Continuation:
    """Tokens generated after a prompt, without the one that ends the turn."""

    ids: list[int]
    ended: bool
    entropy: float
    top_probability: float


@torch.no_grad()
def continue_turn(
    model: Decoder, tokenizer: Tokenizer, prompt: list[int], sampling: Sampling, tokens: int
) -> Continuation:
    """At most `tokens` tokens, none where the prompt fills the context; recomputes the prompt each
    step, on the CPU."""
    ids, ends = list(prompt), {tokenizer.token_to_id(TURN_END), tokenizer.token_to_id(BOS)}
    generator = torch.Generator().manual_seed(sampling.seed)
    entropies: list[float] = []
    tops: list[float] = []
    limit = min(len(prompt) + tokens, model.shape.max_position_embeddings)
    while len(ids) < limit:
        logits = model(torch.tensor([ids]))[0, -1]
        probabilities = logits.softmax(-1)
        entropies.append(float(-(probabilities * (probabilities + 1e-12).log()).sum()))
        tops.append(float(probabilities.max()))
        ids.append(choose(logits, sampling, generator))
        if ids[-1] in ends:
            break
    ended = ids[-1] in ends
    return Continuation(
        ids[len(prompt) : len(ids) - ended],
        ended,
        mean(entropies) if entropies else 0.0,
        mean(tops) if tops else 1.0,
    )


def reply(
    model: Decoder, tokenizer: Tokenizer, question: Question, sampling: Sampling, tokens: int
) -> Reply:
    """An answer of at most `tokens` tokens, judged."""
    text = conversation_text(question.conversation, ask=True)
    prompt = tokenizer.encode(text, add_special_tokens=False).ids
    given = continue_turn(model, tokenizer, prompt, sampling, tokens)
    words = tokenizer.decode(given.ids)
    right = None if question.expected is None else bool(re.search(question.expected, words))
    return Reply(
        words, given.ended, right, given.entropy, given.top_probability, repetition(given.ids)
    )


def exact_turns(
    model: Decoder, tokenizer: Tokenizer, conversations: list[Tokens], limit: int
) -> float:
    """Share of conversations whose first assistant turn comes out greedily as it was written.

    Meaningful where there is one right answer: tool calls, JSON, sums.
    """
    asked = [c for c in conversations if c.own.any()][:limit]
    return sum(_first_turn_exact(model, tokenizer, c) for c in asked) / max(len(asked), 1)


def _first_turn_exact(model: Decoder, tokenizer: Tokenizer, conversation: Tokens) -> bool:
    start = int(conversation.own.argmax())
    length = int((~conversation.own[start:]).argmax()) or len(conversation.own) - start
    expected = conversation.ids[start : start + length - 1].tolist()  # without the turn's end
    prompt = conversation.ids[:start].tolist()
    given = continue_turn(model, tokenizer, prompt, GREEDY, len(expected) + 1)
    return given.ended and given.ids == expected


def summary(replies: list[Reply]) -> dict[str, float]:
    """Counts and means over replies to all questions."""
    judged = [r.right for r in replies if r.right is not None]
    return {
        "right": sum(judged),
        "judged": len(judged),
        "ended": sum(r.ended for r in replies),
        "asked": len(replies),
        "entropy": round(mean(r.entropy for r in replies), 3),
        "top_probability": round(mean(r.top_probability for r in replies), 3),
        "repetition": round(mean(r.repetition for r in replies), 3),
    }


def replies_to_all(
    model: Decoder, tokenizer: Tokenizer, sampling: Sampling, tokens: int
) -> list[Reply]:
    """Replies to the fixed questions, in order, each of at most `tokens` tokens."""
    return [reply(model, tokenizer, question, sampling, tokens) for question in QUESTIONS]
