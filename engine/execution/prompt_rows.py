"""Where, in the hidden states of a step, prompts to be scored lie. Knows nothing of scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from engine.scheduling.plan import StepPlan

SCORED_AT_ONCE = 64
"""Prompt positions whose logits exist at a time: they are as wide as the vocabulary."""


class ScoredPrompt(NamedTuple):
    """One sequence's part: hidden states `[positions, hidden_size]`, the prompt's token after each
    position, and how many alternatives the caller wants to see."""

    request_id: str
    rows: Tensor
    target_ids: list[int]
    top_n: int


def scored_prompts(plan: StepPlan, hidden: Tensor) -> Iterator[ScoredPrompt]:
    """The prompts that the plan wants scored. hidden: `[tokens, hidden_size]`, of the step."""
    first_row = 0
    for item in plan.scheduled:
        if item.scored:
            positions, sequence = item.scored, item.sequence
            top_n = sequence.params.prompt_logprobs
            assert top_n is not None, "only sequences that asked are scored"
            rows = hidden[first_row + positions.start - item.start :][: len(positions)]
            targets = sequence.prompt_token_ids[positions.start + 1 : positions.stop + 1]
            yield ScoredPrompt(sequence.request_id, rows, targets, top_n)
        first_row += item.num_tokens
