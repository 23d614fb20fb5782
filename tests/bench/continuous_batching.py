"""`transformers` with its continuous batching, as a peer on a GPU.

Greedy, each request with its own number of new tokens. Knows nothing of the engine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.ipc import Submit
from tests.bench.generate import generate_seconds

BLOCK = 256
MOST_TOKENS = 2048


@dataclass
class TransformersPeer:
    """One model on the card. `paged|sdpa` is what it has without further packages, and where a
    model's attention is not of that kind `paged|eager`."""

    directory: Path
    device: str = "cuda"

    def __post_init__(self) -> None:
        from transformers import AutoModelForCausalLM

        def loaded(attention: str) -> Any:
            return AutoModelForCausalLM.from_pretrained(
                self.directory, dtype=torch.bfloat16, attn_implementation=f"paged|{attention}"
            )

        try:
            self._attention, model = "sdpa", loaded("sdpa")
        except ValueError:  # with sinks
            self._attention, model = "eager", loaded("eager")
        self._model = model.to(self.device).eval()

    def rate(self, requests: list[Submit], limit: float) -> dict[str, float]:
        """Output tokens per second from the submission on, and how many there were after `limit`
        seconds at most. Everything is done once before it counts, in half of that time."""
        from transformers import GenerationConfig
        from transformers.generation.continuous_batching.utils import WorkloadHints

        longest = max(one.params.max_new_tokens or 0 for one in requests)
        hints = WorkloadHints(
            max_prompt_length=max(len(one.prompt_token_ids) for one in requests),
            max_generated_length=longest,
            num_requests=len(requests),
        )
        with (
            torch.no_grad(),
            self._model.continuous_batching_context_manager(
                generation_config=GenerationConfig(
                    do_sample=False, max_new_tokens=longest, eos_token_id=-1
                ),
                continuous_batching_config=_config(requests),
                block=True,
                timeout=5,
                workload_hints=hints,
            ) as manager,
        ):
            _timed(manager, requests, "warm-up", limit / 2)
            tokens, seconds = _timed(manager, requests, "run", limit)
        return {"output tok/s": round(tokens / seconds, 1), "tokens": tokens}

    def generate_rate(self, request: Submit) -> float:
        """Output tokens per second of one request by plain `generate`, the second time."""
        prompt = torch.tensor([request.prompt_token_ids], device=self.device)
        answer = request.params.max_new_tokens or 0
        self._model.set_attn_implementation(self._attention)
        seconds = [generate_seconds(self._model, prompt, answer) for _ in range(2)][-1]
        self._model.set_attn_implementation(f"paged|{self._attention}")
        return round(answer / seconds, 1)


def _config(requests: list[Submit]) -> Any:
    """A cache that holds the requests, and steps of as many tokens as they have use for.

    By default both are as large as memory allows, and so is a mask of the one by the other."""
    from transformers import ContinuousBatchingConfig

    blocks = sum(
        -(-(len(one.prompt_token_ids) + (one.params.max_new_tokens or 0)) // BLOCK) + 1
        for one in requests
    )
    prompts = sum(len(one.prompt_token_ids) for one in requests)
    return ContinuousBatchingConfig(
        block_size=BLOCK, num_blocks=blocks + 1, max_batch_tokens=min(max(prompts, 64), MOST_TOKENS)
    )


def _timed(manager: Any, requests: list[Submit], run: str, limit: float) -> tuple[int, float]:
    """Tokens of all requests, and the seconds that they took."""
    began = time.perf_counter()
    for one in requests:
        manager.add_request(
            list(one.prompt_token_ids),
            request_id=f"{run} {one.request_id}",
            max_new_tokens=one.params.max_new_tokens,
            streaming=True,
        )
    counts = _counts_until(manager, len(requests), run, began + limit)
    seconds = time.perf_counter() - began
    for one in requests:  # what the limit cut short must not run on beside the next
        manager.cancel_request(f"{run} {one.request_id}")
    return sum(counts.values()), seconds


def _counts_until(manager: Any, num_requests: int, run: str, deadline: float) -> dict[str, int]:
    counts: dict[str, int] = {}
    finished: set[str] = set()
    while len(finished) < num_requests and time.perf_counter() < deadline:
        result = manager.get_result(timeout=0.2)
        if result is None:
            if not manager.is_running():
                break
            continue
        if not result.request_id.startswith(run):
            continue
        counts[result.request_id] = len(result.generated_tokens)
        if result.is_finished():
            finished.add(result.request_id)
    return counts
