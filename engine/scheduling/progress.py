"""What a drawn token does to its sequence.

It may end the sequence; and where the sequence's grammar then leaves no choice, the tokens that
must follow are appended at once, to be computed together in the next step like those of a prompt.
Knows nothing of blocks, of other sequences, or of how tokens are drawn.
"""

from __future__ import annotations

from engine.scheduling.finish import finish_if_done
from engine.scheduling.plan import SequenceUpdate
from engine.scheduling.sequence import Sequence
from engine.types import FinishReason, TokenLogprob


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
