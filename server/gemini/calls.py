"""One generateContent call: from its body to a running generation, and on to its answer.

The steps that plain and streamed calls share. Knows nothing of paths.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

from engine import EngineError, ModelCard, TextDelta, TextPrompt
from server.answer_plan import plan_answer
from server.errors import naming_grammar
from server.gemini.candidate import Head
from server.gemini.conversation import chat_prompt
from server.gemini.deadline import Deadline
from server.gemini.errors import CachedContentNotFound
from server.gemini.framing import Framing
from server.gemini.responses import ResponseWriter
from server.gemini.sampling import check_output_kind, fit, sampling_params
from server.gemini.schema import GenerateContentRequest
from server.gemini.structured import grammar_field
from server.gemini.tools import tool_use_of
from server.generation import Generation
from server.state import AppState
from server.tools import ToolUse


class Call:
    """A generation and the writer of its answer, under the caller's deadline."""

    def __init__(
        self,
        generation: Generation,
        writer: ResponseWriter,
        deadline: Deadline,
        grammar_field: str,
        fields_by_line: Mapping[int, str],
    ) -> None:
        """The last two say where in the request its grammar comes from, for errors."""
        self.generation = generation
        self._grammar_field = grammar_field
        self._fields_by_line = fields_by_line
        self._writer = writer
        self._deadline = deadline

    async def start(self) -> None:
        """Submit, and wait for the first result. Raises as `Generation.start`, and
        `DeadlineExceeded`."""
        with naming_grammar(self._grammar_field, self._fields_by_line):
            await self._deadline.keep(self.generation.start)

    async def whole(self) -> bytes:
        """The whole answer. Raises as `start`."""
        await self.start()
        async for index, delta in self._deltas():
            self._writer.absorb(index, delta)
        return self._writer.finish()

    async def frames(self, framing: Framing) -> AsyncIterator[bytes]:
        """The answer in pieces, after `start`."""
        add = self._writer.add
        async for index, delta in self._deltas():
            chunk = add(index, delta)
            if chunk is not None:
                yield framing.chunk(chunk)
        yield framing.last(self._writer.finish())

    def error_frames(self, framing: Framing, error: EngineError) -> Sequence[bytes]:
        """What is left to say when the answer breaks off: the text held back, then the error."""
        held = self._writer.held_back()
        before = [] if held is None else [framing.chunk(held)]
        return [*before, *framing.error(error)]

    def _deltas(self) -> AsyncIterator[tuple[int, TextDelta]]:
        return self._deltas_in_time() if self._deadline.set else self.generation

    async def _deltas_in_time(self) -> AsyncIterator[tuple[int, TextDelta]]:
        while True:
            try:
                yield await self._deadline.keep(self.generation.__anext__)
            except StopAsyncIteration:
                return


async def open_call(
    state: AppState, card: ModelCard, request: GenerateContentRequest, deadline: Deadline
) -> Call:
    """Check the request and make a call of it, not yet started.

    Raises:
        InvalidRequest, CachedContentNotFound, ContextLengthExceeded, EngineUnavailable
    """
    config, use = request.generation_config, tool_use_of(request)
    prompt = await encode_prompt(state, request, use)
    check_output_kind(config)
    plan = plan_answer(state.engine, card, use, prompt)
    params = fit(sampling_params(config), len(prompt), card.max_model_len)
    field = use.field if use.callable and params.grammar is None else grammar_field(config)
    with naming_grammar(field):
        params = plan.bind(params)
    candidates = config.candidate_count or 1
    response_id = secrets.token_urlsafe(16)
    head = Head(
        response_id=response_id,
        model=card.id,
        prompt_tokens=len(prompt),
        candidates=candidates,
        logprobs=params.logprobs,
        eos_token_ids=card.eos_token_ids,
        token_bytes=state.engine.token_bytes,
        plan=plan,
        shows_thoughts=config.thinking_config.include_thoughts,
        count_tokens=lambda text: len(state.engine.encode(TextPrompt(text, False))),
    )
    generation = state.generation(
        [prompt], params, request_id=response_id, dialect="gemini", n=candidates
    )
    lines = plan.fields_by_line(params, grammar_field(config))
    return Call(generation, ResponseWriter(head), deadline, field, lines)


async def encode_prompt(
    state: AppState, request: GenerateContentRequest, use: ToolUse
) -> tuple[int, ...]:
    """The prompt's token ids, chat template and tools included. Raises as `open_call`."""
    if request.cached_content:
        raise CachedContentNotFound(request.cached_content)
    return await state.encode(chat_prompt(request, use))
