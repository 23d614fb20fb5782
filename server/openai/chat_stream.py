"""The stream of a chat answer: chunks with deltas.

Knows the order of chunks; how one choice is written is `chat_choice`'s business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from server.openai.chat_choice import ChoiceWriter
from server.openai.chat_job import ChatJob
from server.openai.frames import DONE, Chunks
from server.openai.usage import choice_usage, usage_object


async def frames(job: ChatJob) -> AsyncIterator[bytes]:
    """Role chunks for all choices in order, with the first result; then whatever arrives."""
    fields, generation = job.fields, job.generation
    chunks = Chunks(job.head, null_usage=fields.include_usage)
    writers = [ChoiceWriter(job, index) for index in range(fields.n)]
    unsent = [(index, writer.role()) for index, writer in enumerate(writers)]
    continuous = fields.continuous_usage
    async for index, delta in generation:
        choices = writers[index].write(delta)
        if not unsent and not continuous and len(choices) == 1:  # most of them
            yield chunks.chunk(choices[0])
            continue
        numbered = unsent + [(index, choice) for choice in choices]
        unsent = []
        if numbered:
            frames = (chunks.chunk(choice, _running_usage(job, i)) for i, choice in numbered)
            yield b"".join(frames)
    if not fields.include_usage:
        yield DONE
        return
    reasoned = sum(writer.reasoning_tokens for writer in writers)
    usage = usage_object(generation.usage, chat=True, reasoning_tokens=reasoned)
    yield chunks.usage(usage) + DONE


def _running_usage(job: ChatJob, index: int) -> dict[str, object] | None:
    if not job.fields.continuous_usage:
        return None
    return usage_object(choice_usage(job.generation, index), chat=True)
