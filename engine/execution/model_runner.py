"""Runs a plan: tensors in, model, sampler, tokens out.

Knows nothing of who decided the plan or of what becomes of the tokens.
"""

from __future__ import annotations

import torch

from engine.attention.backend import AttentionBackend
from engine.attention.forward_batch import BlockTables, build_forward_batch
from engine.execution.prompt_rows import SCORED_AT_ONCE, ScoredPrompt, scored_prompts
from engine.execution.runner import DoneStep
from engine.execution.sequence_rows import draw_rows, sampling_row
from engine.grammar.masks import GrammarMasks
from engine.models.decoder import Decoder
from engine.models.native_decoder import NativeDecoder
from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import Sampler
from engine.sampling.sampling_batch import SamplingBatch
from engine.scheduling.plan import StepPlan, StepResult
from engine.scheduling.sequence import Sequence
from engine.types import TokenLogprob


class ModelRunner:
    """The model, its attention and its sampler, where each step is done before the next begins."""

    max_plans_ahead = 0

    def __init__(
        self,
        decoder: Decoder | NativeDecoder,
        attention: AttentionBackend,
        sampler: Sampler | NativeSampler,
        grammar_masks: GrammarMasks,
        tables: BlockTables,
        *,
        block_size: int,
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self._decoder = decoder
        self._attention = attention
        self._sampler = sampler
        self._grammar_masks = grammar_masks
        self._tables = tables
        self._block_size = block_size
        self._vocab_size = vocab_size
        self._device = device
        self._sampling: SamplingBatch | None = None
        self._sampled: list[Sequence] = []  # the composition that `_sampling` was built for
        self._num_output: list[int] = []  # tokens that each of those had generated when it drew

    def launch(self, plan: StepPlan) -> DoneStep:
        """See `engine.execution.runner.Runner.launch`; the step is computed at once."""
        return DoneStep(self._run(plan))

    @torch.inference_mode()
    def _run(self, plan: StepPlan) -> StepResult:
        drawn = [item.sequence.grammar for item in plan.sampling for _ in range(item.num_draws)]
        masks = self._grammar_masks.start(drawn)
        batch = build_forward_batch(plan, self._tables, self._block_size, self._device)
        attention = self._attention.begin(batch)
        hidden = self._decoder.forward(batch.token_ids, batch.positions, attention)
        scored = self._score_prompts(plan, hidden)
        if not plan.sampling:
            return StepResult([], prompt_logprobs=scored)
        logits = self._decoder.logits(hidden.index_select(0, batch.sample_rows))
        kept = self._sampling_batch(plan)
        self._sampling = None  # a step that fails half-way leaves no batch to be reused
        sampling = self._with_drafts(plan, kept) if plan.guesses else kept
        if masks is not None:
            sampling.restrict(masks.rows, masks.wait())
        sampled = self._sampler.sample(logits, sampling)
        drawn = sampled.token_ids
        kept.advance(_first_draws(plan, drawn) if plan.guesses else drawn)
        self._sampling = kept
        return StepResult(drawn.tolist(), sampled.logprobs, scored)

    def _sampling_batch(self, plan: StepPlan) -> SamplingBatch:
        """The batch of the last step when the same sequences sample again, else a new one.

        A kept batch has counted every token that it sampled. Where the sequences have others, as
        those that were guessed right, it may be able to pass over them.
        """
        # Compared by identity: a request id may come again, with a life of its own.
        sequences = [item.sequence for item in plan.sampling]
        before, self._num_output = self._num_output, [one.num_output_tokens for one in sequences]
        if self._sampling is not None and sequences == self._sampled:
            more = [now - then - 1 for now, then in zip(self._num_output, before, strict=True)]
            if not any(more) or self._sampling.skip(more):
                return self._sampling
        self._sampled = sequences
        rows = [sampling_row(sequence) for sequence in sequences]
        return SamplingBatch.build(rows, self._vocab_size, self._device)

    def _with_drafts(self, plan: StepPlan, batch: SamplingBatch) -> SamplingBatch:
        """Of a batch with a row for each sequence, one with a row for each draw, for one step."""
        rows = [row for item in plan.sampling for row in draw_rows(item)]
        uniforms = batch.uniforms
        if uniforms is not None:
            drawing = [item for item in plan.sampling if not item.sequence.params.greedy]
            uniforms = uniforms.ahead([item.num_draws for item in drawing])
        return SamplingBatch.build(rows, self._vocab_size, self._device, uniforms)

    def _score_prompts(
        self, plan: StepPlan, hidden: torch.Tensor
    ) -> dict[str, list[TokenLogprob]] | None:
        scored = {one.request_id: self._score(one) for one in scored_prompts(plan, hidden)}
        return scored or None

    def _score(self, prompt: ScoredPrompt) -> list[TokenLogprob]:
        target_ids = torch.tensor(prompt.target_ids, device=self._device)
        parts = (prompt.rows.split(SCORED_AT_ONCE), target_ids.split(SCORED_AT_ONCE))
        return [
            entry
            for rows, ids in zip(*parts, strict=True)
            for entry in self._sampler.prompt_logprobs(
                self._decoder.logits(rows), ids, prompt.top_n
            )
        ]


def _first_draws(plan: StepPlan, token_ids: torch.Tensor) -> torch.Tensor:
    """Of each sequence, the token that was drawn at its last known one. token_ids: int64 [draws]"""
    draws = torch.tensor([item.num_draws for item in plan.sampling], device=token_ids.device)
    return token_ids[draws.cumsum(0) - draws]
