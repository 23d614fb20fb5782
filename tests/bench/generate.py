"""`generate` of `transformers` as a peer, by the clock. Knows nothing of the engine."""

from __future__ import annotations

import time
from typing import Any

import torch


@torch.inference_mode()
def generate_seconds(model: Any, ids: torch.Tensor, new_tokens: int) -> float:
    """Of `new_tokens` greedy ones for each prompt `[prompts, tokens]`, no fewer and no more."""
    began = time.perf_counter()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    ).cpu()  # which waits for a card
    return time.perf_counter() - began
