"""Token counts as this dialect reports them."""

from __future__ import annotations

from server.generation import Generation, Usage


def usage_object(usage: Usage, *, chat: bool, reasoning_tokens: int = 0) -> dict[str, object]:
    """The `usage` object; chat has more details, which are zero here."""
    prompt: dict[str, int] = {"cached_tokens": usage.cached_tokens}
    completion: dict[str, int] = {"reasoning_tokens": reasoning_tokens}
    if chat:
        prompt["audio_tokens"] = 0
        completion |= {
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }


def choice_usage(generation: Generation, index: int) -> Usage:
    """Counts of one choice so far, for `continuous_usage_stats`."""
    prompt, cached = generation.prompt_counts(index)
    return Usage(prompt, generation.generated_tokens(index), cached)
