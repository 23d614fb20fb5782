"""Runs plans on a GPU, a step ahead of the host.

A step is launched while the one before still runs: its inputs come from tables on the device, the
tokens it draws stay there for the next one, and the host reads them when it has launched that.
A step with guessed tokens is read before the next is launched, since that begins where they went
wrong.

Knows nothing of who decided the plan or of what becomes of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.attention.device_batch import DeviceBatch
from engine.attention.triton_backend import TritonAttention
from engine.execution.prompt_rows import SCORED_AT_ONCE, ScoredPrompt, scored_prompts
from engine.execution.readback import Readback
from engine.execution.row_tables import RowTables
from engine.execution.sequence_rows import draw_rows, sampling_row
from engine.execution.step_graphs import StepGraphs
from engine.execution.step_packet import NO_ROW, PacketLayout, PacketWriter, block_updates
from engine.execution.step_size import StepSize, StepSizes, draw_places, is_chunk, size_of
from engine.grammar.masks import GrammarMasks, StepMasks
from engine.models.triton_decoder import TritonDecoder
from engine.sampling.logprob_table import DeviceLogprobs, read_table
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.triton_logprobs import score_rows
from engine.sampling.triton_sampler import TritonSampler
from engine.sampling.triton_warm_up import compile_common
from engine.sampling.upload import upload
from engine.scheduling.plan import ScheduledSequence, StepPlan, StepResult
from engine.scheduling.sequence import Sequence
from engine.types import TokenLogprob

_WARM = 8
"""The largest decode step that is captured before the first request."""

_WARM_PROMPTS = 2
"""As many sizes of steps with prompts, from the least, are captured then, too."""

_NO_NEWS = np.zeros((1, 3), dtype=np.int32)
"""An update that tells the first row's block table what it begins with anyway."""


@dataclass(frozen=True, slots=True)
class PromptScores:
    """Scores of prompt tokens on their way to the host: tables of `score_rows`."""

    request_id: str
    tables: list[Tensor]
    top_n: int


@dataclass(frozen=True, slots=True)
class StepUnderWay:
    """What a launched step will have given; the tensors are those of `Readback.fetch`."""

    readback: Readback
    vocab_size: int
    token_ids: Tensor | None  # [sampling sequences]
    logprobs: tuple[DeviceLogprobs, Tensor] | None
    prompts: list[PromptScores]

    def result(self) -> StepResult:
        """See `engine.execution.runner.LaunchedStep`."""
        self.readback.wait()
        token_ids = [] if self.token_ids is None else self.token_ids.tolist()
        logprobs = None
        if self.logprobs is not None:
            scores, table = self.logprobs
            logprobs = scores.entries(table)
        return StepResult(token_ids, logprobs, self._prompt_logprobs())

    def _prompt_logprobs(self) -> dict[str, list[TokenLogprob]] | None:
        found = {
            prompt.request_id: [
                entry
                for table in prompt.tables
                for entry in read_table(table, [prompt.top_n] * len(table), self.vocab_size)
            ]
            for prompt in self.prompts
        }
        return found or None


class DeviceRunner:
    """The model, its attention and its sampler on one GPU."""

    max_plans_ahead: int = 1

    def __init__(
        self,
        decoder: TritonDecoder,
        attention: TritonAttention,
        tables: RowTables,
        sampling_rows: SamplingRows,
        grammar_masks: GrammarMasks,
        *,
        num_rows: int,
        num_draft_rows: int = 0,
        device: torch.device,
        sizes: StepSizes,
        capture: bool,
    ) -> None:
        """Args:
        sampling_rows: `num_rows + num_draft_rows` of them.
        num_draft_rows: tokens that may be in a step in which some are guessed; 0 for never.
        sizes: what steps are padded to.
        capture: keep CUDA graphs of padded steps.
        """
        self._decoder = decoder
        self._attention = attention
        self._tables = tables
        self._sampling_rows = sampling_rows
        self._sampler = TritonSampler(sampling_rows)
        self._grammar_masks = grammar_masks
        self._device = device
        self._packets = PacketWriter(num_rows)
        self._sizes = sizes
        self._decodes = StepGraphs(capture=capture)
        self._mixed = StepGraphs(capture=capture, beside=self._decodes)
        self._draft_rows = range(num_rows, num_rows + num_draft_rows)
        self._occupants: list[Sequence | None] = [None] * num_rows
        self._num_generated = [0] * num_rows  # as the sampler's rows have it

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> StepUnderWay:
        """See `engine.execution.runner.Runner.launch`. Never waits for the device."""
        grammars = [item.sequence.grammar for item in plan.sampling for _ in range(item.num_draws)]
        masks = self._grammar_masks.start(grammars)
        self._occupy_rows(plan.sampling)
        numbers = self._numbers(plan)
        readback = Readback(self._device)
        prompts: list[PromptScores] = []
        if _only_decodes(plan):
            logits, row_ids = self._decode(plan)
            if plan.guesses:
                row_ids = upload(np.array(numbers, dtype=np.int32), self._device)
        else:
            hidden, places = self._prefill(plan)
            prompts = [self._score(one, readback) for one in scored_prompts(plan, hidden)]
            drawn_from, row_ids = upload(_draws(places, numbers), self._device)[:, : len(numbers)]
            logits = self._decoder.logits(hidden.index_select(0, drawn_from))
        token_ids, logprobs = None, None
        if plan.sampling:
            token_ids, logprobs = self._sample(plan, logits, row_ids, numbers, masks, readback)
        readback.close()
        return StepUnderWay(readback, self._sampling_rows.vocab_size, token_ids, logprobs, prompts)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compile what plain steps of any size and common controls need, which requests would wait
        for with everybody beside them, and capture a short prompt and small decode steps: by steps
        of padding only. What other controls need is compiled when they come."""
        _, packet = self._packets.write(StepPlan(()), StepSize(1))
        self._tables.receive(packet, _NO_NEWS)
        for number in self._sizes.decodes:
            logits = self._draw_padding(number)
        compile_common(logits[:1])
        for size in self._sizes.prompts:
            self._read_padding(size)
        if self._decodes.captures:  # what comes again
            for number in [one for one in self._sizes.decodes if one <= _WARM]:
                self._draw_padding(number)
            for size in self._sizes.prompts[:_WARM_PROMPTS]:
                self._read_padding(size)

    def _read_padding(self, size: StepSize) -> None:
        """A step with prompts of nobody."""
        self._hidden(self._send(StepPlan(()), size), size)

    def _draw_padding(self, number: int) -> Tensor:
        """A greedy decode step of nobody's rows; gives its logits."""
        size = StepSize(number)
        layout = self._send(StepPlan(()), size)
        logits, rows = self._decode_logits(layout, size), self._tables.rows(layout)
        drawn = self._sampler.sample(logits, rows, [NO_ROW] * number)
        self._tables.record(rows, drawn.token_ids)
        return logits

    def _send(self, plan: StepPlan, size: StepSize) -> PacketLayout:
        layout, packet = self._packets.write(plan, size)
        self._tables.receive(packet, block_updates(plan))
        return layout

    def _decode(self, plan: StepPlan) -> tuple[Tensor, Tensor]:
        """Logits `[tokens, vocab]` of a plan that draws at each token, and the rows' numbers."""
        size = self._sizes.padded(size_of(plan))
        assert size is not None, "there is a size for all decodes that there are rows for"
        layout = self._send(plan, size)
        logits = self._decode_logits(layout, size)
        return logits[: plan.num_tokens], self._tables.rows(layout)[: plan.num_tokens]

    def _decode_logits(self, layout: PacketLayout, size: StepSize) -> Tensor:
        return self._decodes.run(
            size,
            lambda: self._decoder.logits(self._forward(self._tables.padded_batch(layout, size))),
        )

    def _prefill(self, plan: StepPlan) -> tuple[Tensor, list[int]]:
        """Hidden states of a step with chunks, and where in them the plan draws."""
        exact = size_of(plan)
        size = None if any(item.scored for item in plan.scheduled) else self._sizes.padded(exact)
        layout = self._send(plan, size or exact)
        if size is None:
            return self._forward(self._exact_batch(plan, layout, exact)), draw_places(plan, exact)
        return self._hidden(layout, size), draw_places(plan, size)

    def _hidden(self, layout: PacketLayout, size: StepSize) -> Tensor:
        return self._mixed.run(size, lambda: self._forward(self._tables.padded_batch(layout, size)))

    def _exact_batch(self, plan: StepPlan, layout: PacketLayout, size: StepSize) -> DeviceBatch:
        return self._tables.batch(
            layout,
            num_decodes=size.decodes,
            longest_query=max((i.num_tokens for i in plan.scheduled if is_chunk(i)), default=1),
            longest_context=max(item.start + item.num_tokens for item in plan.scheduled),
        )

    def _forward(self, batch: DeviceBatch) -> Tensor:
        attention = self._attention.begin(batch)
        return self._decoder.forward(batch.token_ids, batch.positions, attention)

    def _sample(
        self,
        plan: StepPlan,
        logits: Tensor,
        row_ids: Tensor,
        numbers: list[int],
        masks: StepMasks | None,
        readback: Readback,
    ) -> tuple[Tensor, tuple[DeviceLogprobs, Tensor] | None]:
        legal = None if masks is None else (masks.rows, masks.wait())
        drawn = self._sampler.sample(logits, row_ids, numbers, legal)
        if not plan.guesses:  # else the host sends them, and there are others' rows
            self._tables.record(row_ids, drawn.token_ids)
        for item in plan.sampling:
            self._num_generated[item.row] += 1
        scores = drawn.logprobs
        logprobs = None if scores is None else (scores, readback.fetch(scores.table))
        return readback.fetch(drawn.token_ids), logprobs

    def _occupy_rows(self, sampling: Rows[ScheduledSequence]) -> None:
        """Tell the sampler of rows that changed hands, or hold tokens it did not draw."""
        for item in sampling:
            sequence, row = item.sequence, item.row
            num_before = sequence.num_output_tokens + sequence.num_pending - 1
            same = self._occupants[row] is sequence and item.new_blocks_from > 0
            if not same or self._num_generated[row] != num_before:
                assert num_before == sequence.num_output_tokens, "its tokens must all be known"
                self._sampling_rows.set(row, sampling_row(sequence))
                self._occupants[row], self._num_generated[row] = sequence, num_before

    def _numbers(self, plan: StepPlan) -> list[int]:
        """The sampler's row for each draw: the sequence's own, and one for each draft, which is
        told of the sequence as it would be there."""
        numbers: list[int] = []
        spare = iter(self._draft_rows)
        for item in plan.sampling:
            numbers.append(item.row)
            if item.drafts:
                for occupant, row in zip(draw_rows(item)[1:], spare, strict=False):
                    self._sampling_rows.set(row, occupant)
                    numbers.append(row)
        assert len(numbers) == plan.num_draws, "more is guessed than there are rows for"
        return numbers

    def _score(self, prompt: ScoredPrompt, readback: Readback) -> PromptScores:
        target_ids = upload(np.array(prompt.target_ids, dtype=np.int64), self._device)
        parts = (prompt.rows.split(SCORED_AT_ONCE), target_ids.split(SCORED_AT_ONCE))
        places = torch.arange(SCORED_AT_ONCE, device=self._device)
        tables = [
            score_rows(self._decoder.logits(rows), places[: len(ids)], ids, prompt.top_n)
            for rows, ids in zip(*parts, strict=True)
        ]
        fetched = [readback.fetch(table) for table in tables]
        return PromptScores(prompt.request_id, fetched, prompt.top_n)


def _only_decodes(plan: StepPlan) -> bool:
    """Whether a token is drawn at every token, which all is what graphs know."""
    return plan.num_tokens == plan.num_draws and not any(item.scored for item in plan.scheduled)


def _draws(places: list[int], numbers: list[int]) -> np.ndarray:
    """`[2, draws]` int32: places of logits and the sampler's rows; padded, so that both begin at
    16 bytes, as kernels that are compiled already expect."""
    draws = np.zeros((2, -(-len(numbers) // 4) * 4), dtype=np.int32)
    draws[:, : len(numbers)] = places, numbers
    return draws
