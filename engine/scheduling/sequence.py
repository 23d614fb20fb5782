"""One sample's progress through the engine. Mutable; owned by the scheduler.

Knows nothing of text (stop strings are the client's business) or of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.grammar.state import GrammarState
from engine.sampling_params import SamplingParams
from engine.scheduling.drafts import DraftProposer
from engine.types import FinishReason, TokenLogprob


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and what has been generated after it.

    `num_computed_tokens` catches up with `num_tokens`; the scheduler's whole work is to let it.
    Tokens count as computed from the plan on that computes them; `num_pending` tokens are drawn by
    plans whose results have not come in, so that nobody here knows them yet.
    `seed` is the one the draw uses: the caller's, or fresh entropy when none was given.
    `grammar` is where it stands in its grammar, when it has one; it outlives preemption, as the
    tokens do. `row` is the sequence's fixed row in the runner's tables while it runs, else None.
    `proposer` guesses its next tokens, once anybody wanted guesses.
    """

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    seed: int
    max_new_tokens: int  # resolved against the context length
    eos_token_ids: frozenset[int]  # empty when the caller ignores end-of-sequence
    grammar: GrammarState | None = None
    proposer: DraftProposer | None = None
    output_token_ids: list[int] = field(default_factory=list[int])
    num_computed_tokens: int = 0
    num_pending: int = 0
    num_named_tokens: int = 0  # of the computed ones, those whose blocks the prefix cache was told
    num_cached_tokens: int = 0  # prompt tokens that the first admission found in the prefix cache
    block_ids: list[int] = field(default_factory=list[int])
    block_keys: list[bytes] = field(default_factory=list[bytes])  # of the full blocks hashed yet
    num_admissions: int = 0  # above 1: preempted before
    row: int | None = None
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=list[TokenLogprob | None])

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.output_token_ids)

    @property
    def num_known_tokens(self) -> int:
        """Prompt and output, as far as results have come in."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    @property
    def num_tokens(self) -> int:
        """Known tokens and those that are being drawn."""
        return len(self.prompt_token_ids) + len(self.output_token_ids) + self.num_pending

    @property
    def waits_for_a_draw(self) -> bool:
        """Whether what comes next depends on a token that is being drawn, or nothing comes next.

        A grammar must see each token before it allows another; and the last token that the
        sequence may have is never computed.
        """
        if not self.num_pending:
            return False
        drawn = len(self.output_token_ids) + self.num_pending
        return self.grammar is not None or drawn >= self.max_new_tokens

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    def token_ids(self, start: int, stop: int) -> list[int]:
        """Known tokens at positions [start, stop), across prompt and output."""
        boundary = len(self.prompt_token_ids)
        if start >= boundary:
            return self.output_token_ids[start - boundary : stop - boundary]
        if stop <= boundary:
            return self.prompt_token_ids[start:stop]
        return self.prompt_token_ids[start:] + self.output_token_ids[: stop - boundary]
