"""One step's decision and one step's outcome. Pure data; knows nothing of tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from engine.errors import EngineError
from engine.scheduling.sequence import Sequence
from engine.types import TokenLogprob

NO_POSITIONS = range(0)

# The per-sequence records below are made anew in each step. msgspec makes them several times
# faster than dataclasses do; without `gc`, as nothing refers back to them.


class ScheduledSequence(msgspec.Struct, frozen=True, gc=False):
    """`num_tokens` of `sequence` are computed this step, from position `start`.

    `samples` is True when the chunk reaches the sequence's last known token, so that its last
    logits choose the next one.
    `drafts` are guesses at the tokens after the last known one, computed in the same chunk: the
    chunk is then that token and these, and a token is drawn at each of them, as if the guess
    before it were right.
    `scored` holds the positions within the chunk whose logits score the prompt token right after
    them (the entry of prompt token p + 1 comes from the logits at p); empty when nobody asked.
    `new_blocks_from` is where the entries of `sequence.block_ids` begin that no earlier plan has
    shown; 0 means that the sequence is new on its row, which must be set up from scratch.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    samples: bool
    scored: range = NO_POSITIONS
    new_blocks_from: int = 0
    drafts: tuple[int, ...] = ()

    @property
    def num_draws(self) -> int:
        """At how many of its last tokens the step draws."""
        return 1 + len(self.drafts) if self.samples else 0

    @property
    def row(self) -> int:
        """The sequence's row, which it has when it is planned, and until it ends."""
        row = self.sequence.row
        assert row is not None, "only running sequences are planned"
        return row


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What to run. Single tokens (the decodes) come first, of the longest sequences before those of
    shorter ones, then longer chunks. Where guesses are made, decodes are in the order of arrival
    instead, and keep their places when guesses make them longer.

    `sampling` are the scheduled sequences that draw a token, in the same order; `num_draws` counts
    their draws, more than one each where tokens are guessed; `num_tokens` is how many tokens go
    through the model; `num_single` counts the leading one-token entries.
    """

    scheduled: tuple[ScheduledSequence, ...]
    sampling: tuple[ScheduledSequence, ...] = field(init=False)
    num_draws: int = field(init=False)
    num_tokens: int = field(init=False)
    num_single: int = field(init=False)

    def __post_init__(self) -> None:
        counts = [item.num_tokens for item in self.scheduled]
        single = next((at for at, count in enumerate(counts) if count != 1), len(counts))
        sampling = tuple([item for item in self.scheduled if item.samples])
        object.__setattr__(self, "sampling", sampling)
        object.__setattr__(self, "num_draws", sum([item.num_draws for item in sampling]))
        object.__setattr__(self, "num_tokens", sum(counts))
        object.__setattr__(self, "num_single", single)

    def __bool__(self) -> bool:
        return bool(self.scheduled)

    @property
    def guesses(self) -> bool:
        """Whether some of its tokens are guessed."""
        return self.num_draws != len(self.sampling)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the model said, draw after draw, in plan order.

    `token_ids` has `num_draws` entries for each scheduled sequence with `samples`, in the order of
    their positions. `logprobs`, when not None, is aligned with it (None for rows that did not
    ask). `prompt_logprobs` maps a request id to the entries of the prompt positions that this step
    scored, one per position in `scored`.
    """

    token_ids: list[int]
    logprobs: list[TokenLogprob | None] | None = None
    prompt_logprobs: dict[str, list[TokenLogprob]] | None = None


class SequenceUpdate(msgspec.Struct, frozen=True, gc=False):
    """What one step gave one sequence: a token and those that it forces, or the tokens that it had
    guessed right and one more; and whether it ended.

    `logprobs` is aligned with `token_ids` when the caller asked for them, else empty. The reason
    of the end, and the prompt's logprobs, stand on the sequence; `failure` is instead of a reason.
    """

    sequence: Sequence
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finished: bool = False
    failure: EngineError | None = None
