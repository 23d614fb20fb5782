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


@dataclass
class TransformersPeer:
    """One model on the card. `paged|sdpa` is what it has without further packages."""

    directory: Path
    device: str = "cuda"

    def __post_init__(self) -> None:
        from transformers import AutoModelForCausalLM

        loaded: Any = AutoModelForCausalLM.from_pretrained(
            self.directory, dtype=torch.bfloat16, attn_implementation="paged|sdpa"
        )
        self._model = loaded.to(self.device).eval()

    def rate(self, requests: list[Submit], limit: float) -> dict[str, float]:
        """Output tokens per second from the submission on, and how many there were after `limit`
        seconds at most."""
        from transformers import GenerationConfig
        from transformers.generation.continuous_batching.utils import WorkloadHints

        longest = max(one.params.max_new_tokens or 0 for one in requests)
        config = GenerationConfig(do_sample=False, max_new_tokens=longest, eos_token_id=-1)
        hints = WorkloadHints(
            max_prompt_length=max(len(one.prompt_token_ids) for one in requests),
            max_generated_length=longest,
            num_requests=len(requests),
        )
        with (
            torch.no_grad(),
            self._model.continuous_batching_context_manager(
                generation_config=config, block=True, timeout=5, workload_hints=hints
            ) as manager,
        ):
            began = time.perf_counter()
            for one in requests:
                manager.add_request(
                    list(one.prompt_token_ids),
                    request_id=one.request_id,
                    max_new_tokens=one.params.max_new_tokens,
                    streaming=True,
                )
            tokens = _tokens_until(manager, len(requests), began + limit)
            seconds = time.perf_counter() - began
        return {"output tok/s": round(tokens / seconds, 1), "tokens": tokens}


def _tokens_until(manager: Any, num_requests: int, deadline: float) -> int:
    counts: dict[str, int] = {}
    finished: set[str] = set()
    while len(finished) < num_requests and time.perf_counter() < deadline:
        result = manager.get_result(timeout=0.2)
        if result is None:
            if not manager.is_running():
                break
            continue
        counts[result.request_id] = len(result.generated_tokens)
        if result.is_finished():
            finished.add(result.request_id)
    return sum(counts.values())
