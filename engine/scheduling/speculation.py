"""Speculative decoding without a second model: who may have tokens guessed, and how many.

A step that computes the last known token anyway computes guessed ones behind it for little more,
as it is the weights' way through memory that takes the time. A token is drawn at each of them, as
it would have been in steps of their own, and counts while the guess before it is what was drawn
(see `engine.scheduling.progress`). A draw depends on logits, seed and position alone, so where
logits do not depend on how tokens are cut into steps, neither tokens nor their logprobs change.

Guesses take what is left of a step: they come after everybody who has something to compute, and
nobody is preempted for them. Where plans are made ahead, a look at the last tokens costs what the
host then takes for a step; so it is taken the more rarely, the longer nobody's text gave a guess.
Knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows

import msgspec

from engine.scheduling.blocks import BlockManager
from engine.scheduling.drafts import DraftProposer
from engine.scheduling.plan import ScheduledSequence, SequenceUpdate
from engine.scheduling.plan_builder import PlanBuilder
from engine.scheduling.sequence import Sequence

MOST_ROWS = 16
"""Rows that a step with guesses may have. Up to about there, rows hide behind the weights; beyond,
a guess costs as much as a token."""


_LONGEST_BLIND = 16
"""Plans made ahead, at most, before the next look for guesses."""


class Speculation:
    """Adds guesses to plans and sees what became of them.

    Args:
        most: tokens guessed at a time for one sequence, at most; 0 turns guessing off.
    """

    def __init__(self, most: int) -> None:
        if not 0 <= most < MOST_ROWS:
            raise ValueError(f"{most} tokens cannot be guessed at a time; 0 to {MOST_ROWS - 1} can")
        self._most = most
        self._blind = 0  # plans that may still be made ahead
        self._next_blind = 1
        self.num_drafts = 0
        """Guessed tokens that steps have computed."""
        self.num_accepted = 0
        """Those that were right."""

    def add_drafts(self, builder: PlanBuilder, blocks: BlockManager) -> None:
        """Let entries that compute one token and draw the next go on with guesses."""
        if not self._most or not builder.single:
            return
        num_items = len(builder.single) + len(builder.longer)
        share = min(self._most, MOST_ROWS // num_items - 1)
        if share < 1:
            return
        self._blind, self._next_blind = self._next_blind, min(2 * self._next_blind, _LONGEST_BLIND)
        for place, item in enumerate(builder.single):
            drafts = self._guess(item, min(share, builder.budget), blocks, num_items)
            if drafts:
                builder.single[place] = _with_drafts(item, drafts, blocks)
                builder.budget -= len(drafts)
                self._blind, self._next_blind = 0, 1

    def wants_to_look(self, running: Rows[Sequence]) -> bool:
        """Whether the next plan should wait until the last tokens are known, as it may have guesses
        then. To be asked once for each plan that could be made ahead."""
        if not self._most or len(running) > MOST_ROWS // 2:  # too many to share the rows
            return False
        if not self._blind:
            return True
        self._blind -= 1
        for sequence in running:
            if sequence.proposer is not None:
                sequence.proposer.pass_over()
        return False

    def learn(self, item: ScheduledSequence, update: SequenceUpdate, num_sequences: int) -> None:
        """The outcome of an item with guesses, in a step of so many sequences. One more token was
        drawn than guesses were right."""
        num_drafts, num_accepted = len(item.drafts), len(update.token_ids) - 1
        self.num_drafts += num_drafts
        self.num_accepted += num_accepted
        proposer = item.sequence.proposer
        assert proposer is not None, "it made the guesses"
        proposer.learn(num_drafts, num_accepted, num_sequences)

    def _guess(
        self, item: ScheduledSequence, share: int, blocks: BlockManager, num_items: int
    ) -> tuple[int, ...]:
        sequence = item.sequence
        if not item.samples or not _eligible(sequence):
            return ()
        known = sequence.num_known_tokens
        spare = max(0, blocks.blocks_free - num_items)  # each can still grow by a block
        room = (len(sequence.block_ids) + spare) * blocks.block_size - known
        wanted = sequence.max_new_tokens - sequence.num_output_tokens
        limit = min(share, room, wanted - 1)
        if limit < 1:
            return ()
        if sequence.proposer is None:
            sequence.proposer = DraftProposer(self._most)
        proposer = sequence.proposer
        proposer.extend(sequence.token_ids(proposer.num_tokens, known))
        return proposer.propose(limit)


def _eligible(sequence: Sequence) -> bool:
    """Whether a draw needs nothing of the tokens before it but their keys and values."""
    return sequence.grammar is None and not sequence.params.uses_penalties


def _with_drafts(
    item: ScheduledSequence, drafts: tuple[int, ...], blocks: BlockManager
) -> ScheduledSequence:
    num_tokens = 1 + len(drafts)
    blocks.append(item.sequence.block_ids, item.start + num_tokens)
    return msgspec.structs.replace(item, num_tokens=num_tokens, drafts=drafts)
