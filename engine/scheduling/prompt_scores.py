"""Which positions of a prompt a step scores, and where their entries go.

A prompt is scored once: a sequence that lost its blocks goes on where its entries end.
"""

from __future__ import annotations

from engine.scheduling.plan import NO_POSITIONS, ScheduledSequence, StepResult
from engine.scheduling.sequence import Sequence


def positions_to_score(sequence: Sequence, start: int, stop: int) -> range:
    """Positions in [start, stop) whose logits score a prompt token that has no entry yet."""
    if sequence.params.prompt_logprobs is None:
        return NO_POSITIONS
    first = max(start, len(sequence.prompt_logprobs) - 1)
    return range(first, max(first, min(stop, sequence.num_prompt_tokens - 1)))


def gather_prompt_logprobs(item: ScheduledSequence, result: StepResult) -> None:
    """Append the entries of the positions that the item had scored."""
    assert result.prompt_logprobs is not None, "the plan asked for prompt logprobs"
    entries = result.prompt_logprobs[item.sequence.request_id]
    assert len(entries) == len(item.scored), "one entry per scored position"
    item.sequence.prompt_logprobs.extend(entries)
