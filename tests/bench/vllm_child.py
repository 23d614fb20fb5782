"""A program for vLLM's own environment: its CPU build, asked by lines of JSON, answers by such.

vLLM pins other versions of packages that this project uses, so it lives in an environment apart and
is talked to by `tests.bench.vllm_peer`. Imports nothing of this project.

    python vllm_child.py MODEL DTYPE MOST_ROWS LENGTH
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any


def seconds(engine: Any, vllm: Any, prompts: list[list[int]], new_tokens: int) -> float:
    """Greedy, all prompts together."""
    params = vllm.SamplingParams(
        temperature=0, max_tokens=new_tokens, ignore_eos=True, detokenize=False
    )
    inputs = [{"prompt_token_ids": ids} for ids in prompts]
    began = time.perf_counter()
    engine.generate(inputs, params, use_tqdm=False)
    return time.perf_counter() - began


def main() -> None:
    """Answer until the input ends."""
    model, dtype, most_rows, length = sys.argv[1:]
    vllm: Any = import_module("vllm")
    engine = vllm.LLM(
        model=model,
        dtype=dtype,
        max_model_len=int(length),
        max_num_seqs=int(most_rows),
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    for line in sys.stdin:
        asked = json.loads(line)
        first = seconds(engine, vllm, asked["prompts"], 1)
        whole = seconds(engine, vllm, asked["prompts"], asked["new_tokens"])
        answer = {"first": first, "rest": whole - first}
        print(f"answer {json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main()
