"""A sequence as the sampler sees it. Knows nothing of what either does with it."""

from __future__ import annotations

from dataclasses import replace

from engine.sampling.sampling_batch import SamplingRow
from engine.scheduling.plan import ScheduledSequence
from engine.scheduling.sequence import Sequence


def sampling_row(sequence: Sequence) -> SamplingRow:
    """Its parameters and what is known of its text."""
    return SamplingRow(
        params=sequence.params,
        seed=sequence.seed,
        prompt_token_ids=sequence.prompt_token_ids,
        output_token_ids=sequence.output_token_ids,
        end_token_ids=sequence.eos_token_ids.union(sequence.params.stop_token_ids),
    )


def draw_rows(item: ScheduledSequence) -> list[SamplingRow]:
    """The sequence as it is at its last known token, and as it would be at each of its drafts."""
    row, drafts = sampling_row(item.sequence), item.drafts
    return [
        replace(row, output_token_ids=[*row.output_token_ids, *drafts[:count]]) if count else row
        for count in range(item.num_draws)
    ]
