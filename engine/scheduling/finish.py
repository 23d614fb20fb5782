"""The finish rule: what ends a sequence. Knows nothing of text, blocks or other sequences."""

from __future__ import annotations

from engine.scheduling.sequence import Sequence
from engine.types import FinishReason


def finish_if_done(sequence: Sequence) -> bool:
    """Set the finish reason if the newest token ends the sequence; True when it has one.

    End-of-sequence and stop ids count once `min_tokens` tokens stand before them; in a text with
    a grammar they always do, for before that they are drawn only where the grammar ends. A stop
    beats a length that is reached by the same token. `max_new_tokens` stands for the context's
    end, too.
    """
    params, output = sequence.params, sequence.output_token_ids
    count = len(output)
    if count and (count > params.min_tokens or params.grammar is not None):
        newest = output[-1]
        if newest in params.stop_token_ids:
            sequence.finish_reason = FinishReason.STOP
            sequence.stop_token_id = newest
            return True
        if newest in sequence.eos_token_ids:
            sequence.finish_reason = FinishReason.STOP
            return True
    if count >= sequence.max_new_tokens:
        sequence.finish_reason = FinishReason.LENGTH
        return True
    return False
