"""What drawn tokens do to their sequence.

A token may end the sequence; and where the sequence's grammar then leaves no choice, the tokens
that must follow are appended at once, to be computed together in the next step like those of a
prompt. Where tokens were guessed, several are drawn, and count as far as the guesses were right.
Knows nothing of blocks, of other sequences, or of how tokens are drawn.
"""

from __future__ import annotations

from engine.scheduling.finish import finish_if_done
from engine.scheduling.plan import ScheduledSequence, SequenceUpdate
from engine.scheduling.sequence import Sequence
from engine.types import FinishReason, TokenLogprob

Draw = tuple[int, TokenLogprob | None]
"""A token id, and its entry where the caller asked for one."""


def take_draws(item: ScheduledSequence, draws: list[Draw]) -> SequenceUpdate:
    """Take in the item's draws, one more than it has drafts."""
    assert len(draws) == item.num_draws, "one draw for the known token and for each draft"
    return _take_guessed(item, draws) if item.drafts else take_token(item.sequence, *draws[0])


def take_token(sequence: Sequence, token_id: int, logprob: TokenLogprob | None) -> SequenceUpdate:
    """Append the token and those that it forces, unless the mask it was drawn under was void."""
    grammar = sequence.grammar
    if grammar is not None and grammar.failure is not None:
        return SequenceUpdate(sequence, finished=True, failure=grammar.failure)
    if grammar is not None and grammar.complete:
        sequence.finish_reason = FinishReason.STOP
        return SequenceUpdate(sequence, finished=True)
    taken = _append(sequence, token_id)
    logprobs = () if logprob is None else (logprob,)
    return SequenceUpdate(sequence, tuple(taken), logprobs, sequence.finished)


def _take_guessed(item: ScheduledSequence, draws: list[Draw]) -> SequenceUpdate:
    """Append draws up to the first that is not as guessed, or ends the sequence.

    What was drawn after a wrong guess followed another text. The tokens guessed right are computed.
    """
    sequence, taken = item.sequence, 0
    for (token_id, _), draft in zip(draws, (*item.drafts, None), strict=True):
        sequence.output_token_ids.append(token_id)
        taken += 1
        if finish_if_done(sequence) or token_id != draft:
            break
    sequence.num_computed_tokens += taken - 1
    token_ids = tuple([token_id for token_id, _ in draws[:taken]])
    logprobs = tuple([entry for _, entry in draws[:taken] if entry is not None])
    return SequenceUpdate(sequence, token_ids, logprobs, sequence.finished)


def _append(sequence: Sequence, token_id: int) -> list[int]:
    taken: list[int] = []
    following: int | None = token_id
    while following is not None:
        taken.append(following)
        sequence.output_token_ids.append(following)
        following = None if finish_if_done(sequence) else _forced_after(sequence, following)
    return taken


def _forced_after(sequence: Sequence, token_id: int) -> int | None:
    """The token that must follow; None too when it has to be scored, which takes a step."""
    if sequence.grammar is None:
        return None
    sequence.grammar.advance(token_id)
    return sequence.grammar.forced_token if sequence.params.logprobs is None else None
