"""Who runs next.

There is no prefill phase and no decode phase: each sequence has computed tokens that catch up
with its known tokens, and a step is how many tokens each of them advances. Chunked prefill, cache
hits and preemption by recomputing all follow from that.

One invariant carries the rest: *the running sequences are the oldest ones*. They are admitted in
order of arrival and preempted in reverse, so nobody is ever preempted for a later arrival, the
oldest sequence advances in every step, and only the youngest running one can be mid-prompt. (Any
may have several tokens to compute, where its grammar forced some.)

A plan may be made while the one before still runs, so that a GPU never waits for the host: a
token that is being drawn then counts, though nobody knows it yet. What depends on its value
(a grammar, the name of its block) waits until it is known.

Knows nothing of text, tensors or clocks.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from itertools import islice
from typing import NamedTuple

from engine.errors import ContextLengthExceeded, InvalidParameter
from engine.scheduling.blocks import BlockManager
from engine.scheduling.finish import finish_if_done
from engine.scheduling.plan import ScheduledSequence, SequenceUpdate, StepPlan, StepResult
from engine.scheduling.plan_builder import PlanBuilder
from engine.scheduling.progress import take_draws
from engine.scheduling.prompt_scores import gather_prompt_logprobs, positions_to_score
from engine.scheduling.sequence import Sequence
from engine.scheduling.speculation import Speculation


class Scheduler:
    """Plans steps and takes in their results, in the order of the plans.

    Each plan is followed by one `apply` or `fail` for it; as many plans may be made ahead of that
    as `max_plans_ahead` says.

    Args:
        block_manager: the cache's blocks; nobody else may allocate from it.
        max_num_sequences: rows, that is how many sequences run at a time.
        max_num_batched_tokens: tokens of one step.
        max_model_len: tokens of one sequence, prompt and output together.
        max_plans_ahead: plans that may be made while an earlier one has no result yet.
        speculative_tokens: tokens guessed at a time for a sequence, at most. None is made ahead of
            an earlier plan's result: where a guess begins depends on what was drawn before.
    """

    def __init__(
        self,
        block_manager: BlockManager,
        *,
        max_num_sequences: int,
        max_num_batched_tokens: int,
        max_model_len: int,
        max_plans_ahead: int = 0,
        speculative_tokens: int = 0,
    ) -> None:
        if min(max_num_sequences, max_num_batched_tokens, max_model_len) < 1:
            raise ValueError("a scheduler needs room for a sequence, a token and a context")
        self._blocks = block_manager
        self._max_num_batched_tokens = max_num_batched_tokens
        self._max_model_len = max_model_len
        self._free_rows = list(range(max_num_sequences))  # a heap: the lowest row goes first
        self._running: list[Sequence] = []  # by arrival
        self._waiting: OrderedDict[str, Sequence] = OrderedDict()  # by arrival, all later
        self._live: dict[str, Sequence] = {}
        self._max_plans_ahead = max_plans_ahead
        self._longest_first = not speculative_tokens  # guesses make sequences overtake each other
        self._speculation = Speculation(speculative_tokens)
        self._outstanding: deque[_Outstanding] = deque()  # the oldest plan first
        self._preemptions = 0
        self._prompt_tokens = 0
        self._cached_prompt_tokens = 0
        self._generated_tokens = 0

    @property
    def num_running(self) -> int:
        """Sequences that hold a row."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Sequences without a row, preempted ones included."""
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        """Whether the next plan will have something to run."""
        return bool(self._live)

    @property
    def preemptions(self) -> int:
        """How often a running sequence lost its row and blocks, since the start."""
        return self._preemptions

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all sequences admitted since the start, cached ones included."""
        return self._prompt_tokens

    @property
    def cached_prompt_tokens(self) -> int:
        """Prompt tokens that first admissions found in the prefix cache, since the start."""
        return self._cached_prompt_tokens

    @property
    def generated_tokens(self) -> int:
        """Sampled and forced tokens since the start."""
        return self._generated_tokens

    @property
    def draft_tokens(self) -> int:
        """Guessed tokens that were computed since the start."""
        return self._speculation.num_drafts

    @property
    def accepted_draft_tokens(self) -> int:
        """Those of them that were then drawn."""
        return self._speculation.num_accepted

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence at the end of the queue; its `max_new_tokens` is cut to the context.

        Raises:
            ContextLengthExceeded: the context or the whole cache is too small for it, ever.
            InvalidParameter: the prompt is empty, or an open request has the same id.
        """
        if sequence.request_id in self._live:
            raise InvalidParameter("request_id", sequence.request_id, "is already in use.")
        if not sequence.prompt_token_ids:
            raise InvalidParameter("prompt", (), "must have at least one token.")
        self._check_fits(sequence)
        room = self._max_model_len - sequence.num_prompt_tokens
        sequence.max_new_tokens = min(sequence.max_new_tokens, room)
        if sequence.params.prompt_logprobs is not None:
            sequence.prompt_logprobs = [None]  # nothing comes before the first token
        self._live[sequence.request_id] = sequence
        self._waiting[sequence.request_id] = sequence

    def abort(self, request_id: str) -> bool:
        """Forget a sequence and free what it holds at once; False when the id is unknown.

        Between `schedule` and `apply`, too: `apply` then passes over it. What its plans still
        write to its blocks comes before anything that later plans write there.
        """
        sequence = self._live.get(request_id)
        if sequence is None:
            return False
        self._drop([sequence])
        return True

    def schedule(self) -> StepPlan:
        """Decide one step. The plan is empty only when there is no sequence left, or none that can
        should go on before an outstanding plan has its result; an empty plan has no result
        itself."""
        under_way = [entry.plan for entry in self._outstanding]
        assert len(under_way) <= self._max_plans_ahead, "the oldest plan has no result yet"
        ahead = any(sequence.num_pending for sequence in self._running)
        if ahead and not self._may_go_ahead(under_way):
            return StepPlan(())
        builder = PlanBuilder(self._max_num_batched_tokens)
        self._plan_running(builder)
        self._plan_waiting(builder)
        if not ahead:
            self._speculation.add_drafts(builder, self._blocks)
        plan = builder.build(longest_first=self._longest_first)
        if plan:
            self._outstanding.append(_Outstanding(plan, builder.registered))
        assert self._outstanding or not self._live, "the oldest sequence always advances"
        return plan

    def apply(self, plan: StepPlan, result: StepResult) -> list[SequenceUpdate]:
        """Take in the outcome of the oldest plan; one update per sequence that got a token or
        ended."""
        if plan:
            outstanding = self._outstanding
            assert outstanding and outstanding[0].plan is plan, "results come in order, once each"
            outstanding.popleft()
        assert len(result.token_ids) == plan.num_draws, "one token per draw"
        logprobs = result.logprobs or [None] * len(result.token_ids)
        draws = zip(result.token_ids, logprobs, strict=True)
        updates: list[SequenceUpdate] = []
        for item in plan.scheduled:
            sequence = item.sequence
            drawn = list(islice(draws, item.num_draws))
            if self._live.get(sequence.request_id) is not sequence:
                continue  # it ended while the step ran
            if item.scored:
                gather_prompt_logprobs(item, result)
            if drawn:
                sequence.num_pending -= 1
                updates.append(take_draws(item, drawn))
                self._generated_tokens += len(updates[-1].token_ids)
                if item.drafts:
                    self._speculation.learn(item, updates[-1], len(plan.scheduled))
            elif item.start + item.num_tokens == sequence.num_tokens:  # nothing to generate
                updates.append(SequenceUpdate(sequence, finished=finish_if_done(sequence)))
        self._drop([update.sequence for update in updates if update.finished])
        return updates

    def fail(self, plan: StepPlan) -> list[Sequence]:
        """Take back a plan whose step did not run to its end, and drop its sequences.

        What the step was to store is unknown, so nothing of it stays in the prefix cache. Plans
        made after it may build on that: they fail with it. Returns the dropped sequences; the
        others can go on.
        """
        failed: list[_Outstanding] = []
        while plan and not (failed and failed[-1].plan is plan):
            failed.append(self._outstanding.pop())
        items = [item for entry in reversed(failed) for item in entry.plan.scheduled]
        sequences = list(dict.fromkeys(item.sequence for item in items))
        dropped = [one for one in sequences if self._live.get(one.request_id) is one]
        self._drop(dropped)
        for entry in failed:
            self._blocks.forget(entry.registered)
        return dropped

    def _check_fits(self, sequence: Sequence) -> None:
        prompt, wanted = sequence.num_prompt_tokens, max(sequence.max_new_tokens, 0)
        first = 1 if wanted else 0  # the last token sampled is known but never computed
        if prompt + first > self._max_model_len:
            raise ContextLengthExceeded(self._max_model_len, prompt, wanted)
        most = min(prompt + wanted, self._max_model_len) - first
        if most > self._blocks.capacity:
            raise ContextLengthExceeded(self._blocks.capacity + first, prompt, wanted)

    def _may_go_ahead(self, under_way: list[StepPlan]) -> bool:
        """Whether to plan before all tokens are known. What becomes of guesses must be; a look for
        new ones may be put off, and is where the oldest sequence would have to wait for others."""
        if any(plan.guesses for plan in under_way):
            return False
        looks = self._speculation.wants_to_look(self._running)
        return not looks or not self._is_planned(self._running[0])

    def _plan_running(self, builder: PlanBuilder) -> None:
        running, block_size = self._running, self._blocks.block_size
        index = 0
        while index < len(running) and builder.budget:  # preemption shortens the list
            sequence = running[index]
            index += 1
            if sequence.waits_for_a_draw:
                continue
            start, known = sequence.num_computed_tokens, sequence.num_tokens
            stop = known if known - start <= builder.budget else start + builder.budget
            num_blocks = len(sequence.block_ids)
            if stop > num_blocks * block_size:
                stop = self._make_room(sequence, stop)
            if stop > start:
                self._plan(builder, sequence, start, stop, known, num_blocks)

    def _make_room(self, sequence: Sequence, stop: int) -> int:
        """Extend the sequence's table to `stop` tokens, or as far as it goes; returns how far.

        Later arrivals give way. The youngest has nobody to displace: it keeps what it has and
        advances as far as the free blocks reach, perhaps not at all in this step.
        """
        blocks, table = self._blocks, sequence.block_ids
        missing = blocks.blocks_for(stop) - len(table)
        while missing > blocks.blocks_free and self._running[-1] is not sequence:
            self._preempt_youngest()
        stop = min(stop, (len(table) + blocks.blocks_free) * blocks.block_size)
        blocks.append(table, stop)
        return stop

    def _preempt_youngest(self) -> None:
        """Back to the front of the queue. Its tokens stay; their keys and values are redone."""
        sequence = self._running.pop()
        self._free(sequence)
        self._waiting[sequence.request_id] = sequence
        self._waiting.move_to_end(sequence.request_id, last=False)
        self._preemptions += 1

    def _plan_waiting(self, builder: PlanBuilder) -> None:
        while self._waiting and builder.budget and self._free_rows:
            sequence = next(iter(self._waiting.values()))
            if self._is_planned(sequence):
                break  # preempted since: its text is known when those plans have their results
            found = self._find_cached(sequence)
            if not self._has_room(sequence, found):
                break  # first come, first served: nobody overtakes
            self._admit(sequence, found)
            start, known = sequence.num_computed_tokens, sequence.num_tokens
            stop = min(known, start + builder.budget)
            self._blocks.append(sequence.block_ids, stop)
            self._plan(builder, sequence, start, stop, known, 0)

    def _is_planned(self, sequence: Sequence) -> bool:
        """Whether an outstanding plan has a part of it."""
        plans = [entry.plan for entry in self._outstanding]
        return any(item.sequence is sequence for plan in plans for item in plan.scheduled)

    def _find_cached(self, sequence: Sequence) -> list[int]:
        """Blocks to reuse. The last known token is always computed, for its logits; so are the
        prompt tokens from which others have still to be scored."""
        cache = self._blocks.prefix_cache
        if cache is None:
            return []
        limit = sequence.num_tokens - 1
        scored = len(sequence.prompt_logprobs)
        if sequence.params.prompt_logprobs is not None and scored < sequence.num_prompt_tokens:
            limit = scored - 1
        return cache.find(sequence, limit)

    def _has_room(self, sequence: Sequence, found: list[int]) -> bool:
        """Whether all known tokens fit now, so that no prompt starts only to be stuck half-way.

        A preempted sequence also leaves a block for each running one, or it would soon be
        preempted again.
        """
        blocks = self._blocks
        needed = blocks.blocks_for(sequence.num_tokens) - len(found) + blocks.num_cached(found)
        spare = len(self._running) if sequence.num_admissions else 0
        return needed + spare <= blocks.blocks_free

    def _admit(self, sequence: Sequence, found: list[int]) -> None:
        del self._waiting[sequence.request_id]
        self._running.append(sequence)
        sequence.row = heapq.heappop(self._free_rows)
        sequence.block_ids = self._blocks.share(found)
        sequence.num_computed_tokens = len(found) * self._blocks.block_size
        sequence.num_named_tokens = sequence.num_computed_tokens
        if sequence.num_admissions == 0:
            sequence.num_cached_tokens = sequence.num_computed_tokens
            self._cached_prompt_tokens += sequence.num_computed_tokens
            self._prompt_tokens += sequence.num_prompt_tokens
        sequence.num_admissions += 1

    def _plan(
        self,
        builder: PlanBuilder,
        sequence: Sequence,
        start: int,
        stop: int,
        known: int,
        new_blocks_from: int,
    ) -> None:
        sequence.num_computed_tokens = stop
        self._name_blocks(builder, sequence)
        samples = stop == known and sequence.max_new_tokens > 0
        scored = positions_to_score(sequence, start, stop)
        item = ScheduledSequence(sequence, start, stop - start, samples, scored, new_blocks_from)
        sequence.num_pending += samples
        builder.add(item)

    def _name_blocks(self, builder: PlanBuilder, sequence: Sequence) -> None:
        """Tell the prefix cache of blocks that are full and whose tokens are all known."""
        cache, size = self._blocks.prefix_cache, self._blocks.block_size
        named = sequence.num_named_tokens
        stop = min(sequence.num_computed_tokens, sequence.num_known_tokens)
        if cache is not None and stop // size > named // size:
            builder.registered += cache.register(sequence, named, stop)
            sequence.num_named_tokens = stop

    def _drop(self, sequences: list[Sequence]) -> None:
        """Their life here ends: finished, aborted or failed."""
        if not sequences:
            return
        for sequence in sequences:
            del self._live[sequence.request_id]
            if sequence.row is None:
                del self._waiting[sequence.request_id]
            else:
                self._free(sequence)
        self._running = [sequence for sequence in self._running if sequence.row is not None]

    def _free(self, sequence: Sequence) -> None:
        assert sequence.row is not None
        heapq.heappush(self._free_rows, sequence.row)
        sequence.row = None
        sequence.num_computed_tokens = sequence.num_named_tokens = 0
        self._blocks.release(sequence.block_ids)


class _Outstanding(NamedTuple):
    """A plan without a result, and the blocks that it promised to the prefix cache."""

    plan: StepPlan
    registered: list[int]
