"""A model without tensors, and a cache that remembers what was stored where.

Each slot of the simulated cache holds a name of the text up to its token. A step stores first and
reads then, as the layers do, and a read asserts that every earlier slot holds the sequence's own
text: wrong sharing, early eviction and stale blocks all show up.

With `max_plans_ahead` the model runs ahead of the scheduler: it knows the tokens that it has drawn
itself, and the scheduler hears of them only when the next step is under way. With
`speculative_tokens` it draws at guessed tokens, too, each time as if the guess were the text.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass, field

from engine.errors import InvalidParameter
from engine.sampling_params import SamplingParams
from engine.scheduling.blocks import PADDING_BLOCK, BlockManager
from engine.scheduling.plan import ScheduledSequence, SequenceUpdate, StepPlan, StepResult
from engine.scheduling.prefix_cache import PrefixCache
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.sequence import Sequence
from engine.scheduling.speculation import MOST_ROWS
from engine.types import FinishReason, TokenLogprob

VOCABULARY = 5
EOS = 4


@dataclass(frozen=True)
class Limits:
    """The sizes of one simulated engine."""

    num_blocks: int = 64
    block_size: int = 4
    rows: int = 4
    budget: int = 16
    max_model_len: int = 64
    prefix_cache: bool = True
    max_plans_ahead: int = 0
    speculative_tokens: int = 0

    def scheduler(self) -> tuple[Scheduler, BlockManager]:
        cache = PrefixCache(self.block_size) if self.prefix_cache else None
        blocks = BlockManager(self.num_blocks, self.block_size, cache)
        scheduler = Scheduler(
            blocks,
            max_num_sequences=self.rows,
            max_num_batched_tokens=self.budget,
            max_model_len=self.max_model_len,
            max_plans_ahead=self.max_plans_ahead,
            speculative_tokens=self.speculative_tokens,
        )
        return scheduler, blocks


FORCED = {2: 3, 3: 0}


@dataclass
class Script:
    """A grammar that forces `following[token]` after a token."""

    following: dict[int, int] = field(default_factory=lambda: FORCED)
    complete: bool = False
    failure: InvalidParameter | None = None
    advanced: list[int] = field(default_factory=list[int])

    def advance(self, token_id: int) -> None:
        self.advanced.append(token_id)

    @property
    def forced_token(self) -> int | None:
        return self.following.get(self.advanced[-1]) if self.advanced else None


def make_sequence(
    request_id: str,
    prompt: list[int],
    *,
    max_new_tokens: int = 4,
    seed: int = 0,
    eos: frozenset[int] = frozenset(),
    params: SamplingParams | None = None,
) -> Sequence:
    """With a grammar in the parameters, what a `Script` forces is forced."""
    params = params or SamplingParams()
    sequence = Sequence(request_id, list(prompt), params, seed, max_new_tokens, eos)
    if params.grammar is not None:
        sequence.grammar = Script()  # pyright: ignore[reportAttributeAccessIssue]
    return sequence


def next_token(text: list[int], sequence: Sequence) -> int:
    """The fake model and its draw: a function of the text and the seed, and nothing else. With an
    odd seed it looks back two tokens only, and so begins to repeat itself."""
    seen = text[-2:] if sequence.seed % 2 else text
    token = zlib.crc32(repr((seen, sequence.seed)).encode()) % VOCABULARY
    masked = len(text) - sequence.num_prompt_tokens < sequence.params.min_tokens
    if masked and (token in sequence.eos_token_ids or token in sequence.params.stop_token_ids):
        return 0
    return token


def score(text: list[int]) -> TokenLogprob:
    """The last token's made-up logprob after the others."""
    return TokenLogprob(text[-1], -float(zlib.crc32(repr(text).encode()) % 1000))


def expected_output(sequence: Sequence, max_model_len: int) -> tuple[list[int], FinishReason]:
    """What the sequence gives alone: written apart from the code under test."""
    text = list(sequence.prompt_token_ids)
    output: list[int] = []
    stops = sequence.eos_token_ids | frozenset(sequence.params.stop_token_ids)
    forced = FORCED if sequence.params.grammar is not None else {}
    while len(output) < sequence.max_new_tokens and len(text) < max_model_len:
        token = forced.get(output[-1]) if output else None
        certain = token is not None
        token = next_token(text, sequence) if token is None else token
        text.append(token)
        output.append(token)
        if token in stops and (certain or len(output) > sequence.params.min_tokens):
            return output, FinishReason.STOP
    return output, FinishReason.LENGTH


@dataclass
class Simulation:
    """A scheduler with the fake model under it; checks the laws at every step."""

    limits: Limits
    finished: dict[str, Sequence] = field(default_factory=dict)
    live: dict[str, Sequence] = field(default_factory=dict)  # by arrival
    slots: dict[tuple[int, int], int] = field(default_factory=dict)
    texts: dict[Sequence, list[int]] = field(default_factory=dict)  # as the model knows them
    running: deque[tuple[StepPlan, StepResult]] = field(default_factory=deque)
    steps: int = 0

    def __post_init__(self) -> None:
        self.scheduler, self.blocks = self.limits.scheduler()

    def add(self, sequence: Sequence) -> None:
        self.scheduler.add(sequence)
        self.live[sequence.request_id] = sequence

    def abort(self, request_id: str) -> bool:
        self.live.pop(request_id, None)
        return self.scheduler.abort(request_id)

    def step(self, abort_during: str | None = None) -> list[SequenceUpdate]:
        """Plan, run, apply; `abort_during` is dropped between running and applying."""
        plan = self.scheduler.schedule()
        self.check_plan(plan)
        if plan:
            self.running.append((plan, self.execute(plan)))
        if abort_during is not None:
            self.abort(abort_during)
        updates: list[SequenceUpdate] = []
        if self.running and (len(self.running) > self.limits.max_plans_ahead or not plan):
            updates = self.scheduler.apply(*self.running.popleft())
        for update in updates:
            if update.finished:
                done = self.live.pop(update.sequence.request_id)
                self.finished[done.request_id] = done
        self.check_ownership()
        self.steps += 1
        return updates

    def fail_step(self) -> list[Sequence]:
        """Plan a step that dies after scribbling over everything it was to store. Now and then
        it is the step before that dies, which takes this one with it."""
        plans = [plan for plan, _ in self.running] if self.steps % 2 else []
        plans.append(self.scheduler.schedule())
        for item in (item for plan in plans for item in plan.scheduled if item.sequence.block_ids):
            for position in range(item.start, item.start + item.num_tokens):
                self.slots[self.slot(item.sequence, position)] = -1
        dropped = self.scheduler.fail(next((plan for plan in plans if plan), plans[-1]))
        if len(plans) > 1:
            self.running.clear()
        for sequence in dropped:
            del self.live[sequence.request_id]
        self.check_ownership()
        self.steps += 1
        return dropped

    def run(self, max_steps: int = 10_000) -> None:
        while self.live:
            self.step()
            assert self.steps < max_steps, "the work never ends"
        assert not self.scheduler.has_work
        assert self.blocks.blocks_used == 0

    def slot(self, sequence: Sequence, position: int) -> tuple[int, int]:
        size = self.limits.block_size
        block_id = sequence.block_ids[position // size]
        assert block_id != PADDING_BLOCK
        return block_id, position % size

    def execute(self, plan: StepPlan) -> StepResult:
        stored: set[tuple[int, int]] = set()
        for item in plan.scheduled:
            self.tell_model(item)
            text = self.texts[item.sequence] + [*item.drafts]
            names, stop = names_of(text), item.start + item.num_tokens
            for position in range(item.start, stop):
                slot = self.slot(item.sequence, position)
                assert slot not in stored, "two sequences write one slot"
                stored.add(slot)
                self.slots[slot] = names[position]
                filled = position // self.limits.block_size < stop // self.limits.block_size
                assert filled or self.blocks.references(slot[0]) == 1, "shared, but not full"
        for item in plan.scheduled:
            self.check_slots(item.sequence, item.start + item.num_tokens - len(item.drafts))
        scores = {item.sequence.request_id: _scores(item) for item in plan.scheduled if item.scored}
        tokens: list[int] = []
        for item in plan.sampling:
            text = self.texts[item.sequence]
            drawn = [
                next_token(text + [*item.drafts[:count]], item.sequence)
                for count in range(1 + len(item.drafts))
            ]
            tokens += drawn
            right = [token == draft for token, draft in zip(drawn, item.drafts, strict=False)]
            text += drawn[: [*right, False].index(False) + 1]
        return StepResult(tokens, prompt_logprobs=scores)

    def tell_model(self, item: ScheduledSequence) -> None:
        """What the model cannot know yet: the text of a sequence on a new row, forced tokens."""
        sequence = item.sequence
        known = sequence.token_ids(0, sequence.num_known_tokens)
        text = [] if item.new_blocks_from == 0 else self.texts[sequence]
        assert text[: len(known)] == known[: len(text)], "the model drew something else"
        self.texts[sequence] = known + text[len(known) :]
        stop = item.start + item.num_tokens - len(item.drafts)
        assert len(self.texts[sequence]) >= stop, "nobody knows the token to compute"
        assert not item.samples or len(self.texts[sequence]) == stop, "a draw from the middle"

    def check_slots(self, sequence: Sequence, stop: int) -> None:
        names = names_of(self.texts[sequence]) if stop else []
        for position in range(stop):
            assert self.slots[self.slot(sequence, position)] == names[position], "foreign text"

    def check_plan(self, plan: StepPlan) -> None:
        limits, items = self.limits, plan.scheduled
        assert plan.num_tokens == sum(item.num_tokens for item in items) <= limits.budget
        assert all(item.num_tokens >= 1 for item in items)
        decodes = [item.num_tokens == 1 + len(item.drafts) for item in items]
        assert decodes == sorted(decodes, reverse=True), "single tokens come first"
        ones = [item.num_tokens == 1 for item in items]
        assert plan.num_single == [*ones, False].index(False)
        assert plan.sampling == tuple(item for item in items if item.samples)
        guessing = [item for item in items if item.drafts]
        assert all(item.samples and item.num_tokens == 1 + len(item.drafts) for item in guessing)
        assert plan.num_draws == len(plan.sampling) + sum(len(item.drafts) for item in guessing)
        assert not guessing or plan.num_draws <= MOST_ROWS
        rows = [item.sequence.row for item in items]
        assert len(set(rows)) == len(rows)
        assert all(row is not None and 0 <= row < limits.rows for row in rows)
        planned = [item.sequence.request_id for item in items]
        earlier = [item for running, _ in self.running for item in running.scheduled]
        planned += [item.sequence.request_id for item in earlier]
        guessed = [item.sequence.request_id for item in earlier if item.drafts]
        if self.live and not guessed:  # else what was right must be known first
            assert next(iter(self.live)) in planned, "the oldest sequence always advances"
        assert not plan or self.live.keys().isdisjoint(guessed), "nobody knows where guesses end"
        for item in items:
            returns = item.new_blocks_from == 0 and item.sequence.num_admissions > 1
            if returns and item.samples and item.sequence.row == self.youngest_row():
                room = self.blocks.blocks_free
                assert room >= self.scheduler.num_running - 1, "it would soon be preempted again"
        running = [sequence.row is not None for sequence in self.live.values()]
        assert running == sorted(running, reverse=True), "the running ones are the oldest"
        assert sum(running) == self.scheduler.num_running <= limits.rows
        assert len(running) - sum(running) == self.scheduler.num_waiting

    def youngest_row(self) -> int | None:
        rows = [sequence.row for sequence in self.live.values() if sequence.row is not None]
        return rows[-1] if rows else None

    def check_ownership(self) -> None:
        references = [0] * self.limits.num_blocks
        for sequence in self.live.values():
            for block_id in sequence.block_ids:
                references[block_id] += 1
            assert sequence.row is not None or not sequence.block_ids
            self.check_slots(sequence, sequence.num_computed_tokens)
        assert references[PADDING_BLOCK] == 0
        counted = [self.blocks.references(block_id) for block_id in range(len(references))]
        assert counted == references
        assert self.blocks.blocks_used == sum(count > 0 for count in references)


def names_of(text: list[int]) -> list[int]:
    """For each position, a name of the text from the first token up to it."""
    crc, names = 0, list[int]()
    for token in text:
        crc = zlib.crc32(token.to_bytes(4, "little"), crc)
        names.append(crc)
    return names


def _scores(item: ScheduledSequence) -> list[TokenLogprob]:
    return [score(item.sequence.token_ids(0, position + 2)) for position in item.scored]
