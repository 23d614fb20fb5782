"""The engine's loop body: inbox to plan, plan to result, result to outbox.

Knows nothing of sockets, text or tensors: it puts the scheduler and the runner together.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable

from engine.errors import EngineError, InvalidParameter
from engine.execution.runner import LaunchedStep, Runner
from engine.grammar.compiler import GrammarCompiler
from engine.ipc import Fault, Refusal, SequenceOutput, StepOutputs, Submit
from engine.scheduling.blocks import BlockManager
from engine.scheduling.compiling import Compiling, CompilingSequences
from engine.scheduling.plan import SequenceUpdate, StepPlan
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.sequence import Sequence
from engine.types import EngineStats, ModelCard

log = logging.getLogger(__name__)


class EngineCore:
    """Owns the open sequences of one engine process."""

    def __init__(
        self,
        model: ModelCard,
        scheduler: Scheduler,
        blocks: BlockManager,
        runner: Runner,
        grammars: GrammarCompiler,
    ) -> None:
        self.model = model
        self._scheduler = scheduler
        self._blocks = blocks
        self._runner = runner
        self._grammars = grammars
        self._compiling = CompilingSequences()
        self._under_way: deque[tuple[StepPlan, LaunchedStep]] = deque()  # the oldest first
        self._steps = 0
        self._refused: list[SequenceOutput] = []
        self._aborted = False

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do or to say.

        Sequences that wait for their grammar are none until that is settled: see `when_woken`.
        """
        return (
            self._scheduler.has_work
            or bool(self._under_way)
            or bool(self._refused)
            or self._aborted
            or self._compiling.any_settled
        )

    def when_woken(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, in any thread, when there may be work again without a request."""
        self._grammars.on_settled = wake

    @property
    def stats(self) -> EngineStats:
        """Gauges and totals as of now."""
        scheduler = self._scheduler
        return EngineStats(
            running=scheduler.num_running,
            waiting=scheduler.num_waiting + len(self._compiling),
            blocks_used=self._blocks.blocks_used,
            blocks_total=self._blocks.num_blocks - 1,  # without the padding block
            steps=self._steps,
            preemptions=scheduler.preemptions,
            prompt_tokens=scheduler.prompt_tokens,
            cached_prompt_tokens=scheduler.cached_prompt_tokens,
            generated_tokens=scheduler.generated_tokens,
            draft_tokens=scheduler.draft_tokens,
            accepted_draft_tokens=scheduler.accepted_draft_tokens,
        )

    def submit(self, request: Submit) -> None:
        """Queue a request; one that cannot run is answered with an error in the next step."""
        sequence, grammar = self._new_sequence(request), request.params.grammar
        try:
            if grammar is None:
                self._scheduler.add(sequence)
            else:
                self._compiling.add(sequence, self._grammars.compile(grammar))
        except EngineError as error:
            self._refused.append(_refused(sequence, error))

    def abort(self, request_ids: Iterable[str]) -> None:
        """Forget requests and free what they hold; unknown ids are ignored."""
        for request_id in request_ids:
            found = self._compiling.abort(request_id) or self._scheduler.abort(request_id)
            self._aborted |= found

    def step(self) -> StepOutputs | None:
        """Launch a step and take in the oldest one under way, as soon as no more may be launched
        ahead of it; None when there is nothing to tell the server."""
        for settled in self._compiling.take_settled():
            self._queue(settled)
        outputs, self._refused = self._refused, []
        told, self._aborted = self._aborted, False  # freed blocks show in the stats at once
        plan = self._scheduler.schedule()
        if plan:
            self._steps += 1
            outputs += self._launch(plan)
        if self._under_way and (not plan or len(self._under_way) > self._runner.max_plans_ahead):
            outputs += self._take_in(*self._under_way.popleft())
        if not outputs and not told:
            return None
        return StepOutputs(tuple(outputs), self.stats)

    def _launch(self, plan: StepPlan) -> list[SequenceOutput]:
        try:
            self._under_way.append((plan, self._runner.launch(plan)))
        except RuntimeError:  # what torch raises, out of memory included
            return self._fail(plan)
        return []

    def _take_in(self, plan: StepPlan, step: LaunchedStep) -> list[SequenceOutput]:
        try:
            result = step.result()
        except RuntimeError:
            self._under_way.clear()  # they build on what this one was to compute
            return self._fail(plan)
        return [_output(update) for update in self._scheduler.apply(plan, result)]

    def _fail(self, plan: StepPlan) -> list[SequenceOutput]:
        log.exception("a step failed; its requests end with an error")
        return [_failed(sequence) for sequence in self._scheduler.fail(plan)]

    def _queue(self, settled: Compiling) -> None:
        sequence = settled.sequence
        try:
            grammar = settled.grammar.result()
            sequence.grammar = grammar.begin(sequence.params, sequence.eos_token_ids)
            self._scheduler.add(sequence)
        except EngineError as error:
            self._refused.append(_refused(sequence, error))

    def _new_sequence(self, request: Submit) -> Sequence:
        params = request.params
        room = self.model.max_model_len - len(request.prompt_token_ids)
        wanted = room if params.max_new_tokens is None else params.max_new_tokens
        return Sequence(
            request_id=request.request_id,
            prompt_token_ids=list(request.prompt_token_ids),
            params=params,
            seed=secrets.randbits(63) if params.seed is None else params.seed,
            max_new_tokens=wanted,
            eos_token_ids=frozenset(() if params.ignore_eos else self.model.eos_token_ids),
        )


def _output(update: SequenceUpdate) -> SequenceOutput:
    sequence = update.sequence
    if update.failure is not None:
        return _refused(sequence, update.failure)
    first = sequence.num_output_tokens == len(update.token_ids)
    scored = sequence.prompt_logprobs if first and sequence.prompt_logprobs else None
    return SequenceOutput(
        request_id=sequence.request_id,
        token_ids=update.token_ids,
        logprobs=update.logprobs,
        finish_reason=sequence.finish_reason,
        stop_token_id=sequence.stop_token_id,
        num_cached_tokens=sequence.num_cached_tokens,
        prompt_logprobs=None if scored is None else tuple(scored),
    )


def _failed(sequence: Sequence) -> SequenceOutput:
    return SequenceOutput(
        request_id=sequence.request_id,
        error=Fault("The engine failed while it computed this request."),
    )


def _refused(sequence: Sequence, error: EngineError) -> SequenceOutput:
    if isinstance(error, InvalidParameter) and error.parameter is not None:
        told = Refusal(error.parameter, error.reason)
    else:
        told = Fault(str(error))
    return SequenceOutput(request_id=sequence.request_id, error=told)
