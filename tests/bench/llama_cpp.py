"""llama.cpp as a contestant: tokens in, tokens out, greedy.

Knows llama.cpp's own batches; nothing of our engine. It is imported when it takes part: it is not
among the packages that the tests need.
"""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


class LlamaCpp:
    """One model in llama.cpp. `threads` as everybody else's."""

    def __init__(self, path: Path, *, threads: int, most_rows: int, length: int) -> None:
        lib: Any = import_module("llama_cpp")
        self._lib = lib
        self._log = lib.llama_log_callback(lambda level, text, user: None)
        lib.llama_log_set(self._log, None)
        lib.llama_backend_init()
        options = lib.llama_model_default_params()
        self._model = lib.llama_model_load_from_file(str(path).encode(), options)
        context = lib.llama_context_default_params()
        context.n_ctx = most_rows * length
        context.n_ubatch = max(512, most_rows)
        context.n_batch = max(context.n_ubatch, length)  # a prompt must fit
        context.n_seq_max = most_rows
        context.n_threads = context.n_threads_batch = threads
        context.kv_unified = True
        self._context = lib.llama_init_from_model(self._model, context)
        assert self._context, "llama.cpp could not make a context"
        self._vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._room = context.n_batch

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        """Seconds to the first tokens of all rows, and for the rest of them."""
        lib = self._lib
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        began = time.perf_counter()
        together = max(1, self._room // len(prompts[0]))  # prompts of one batch
        tokens: list[int] = []
        for start in range(0, len(prompts), together):
            tokens += self._prefill(start, prompts[start : start + together])
        first = time.perf_counter()
        for step in range(new_tokens - 1):
            place = len(prompts[0]) + step
            self._decode([(token, place, row, True) for row, token in enumerate(tokens)])
            tokens = [self._best(row) for row in range(len(tokens))]
        return first - began, time.perf_counter() - first

    def _prefill(self, first_row: int, prompts: list[list[int]]) -> list[int]:
        rows = [
            (token, place, row, place == len(prompt) - 1)
            for row, prompt in enumerate(prompts, start=first_row)
            for place, token in enumerate(prompt)
        ]
        self._decode(rows)
        return [self._best(index) for index, row in enumerate(rows) if row[3]]

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        batch = self._lib.llama_batch_init(self._room, 0, 1)
        batch.n_tokens = len(rows)
        for index, (token, place, row, wanted) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = place
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = row
            batch.logits[index] = wanted
        failed = self._lib.llama_decode(self._context, batch)
        self._lib.llama_batch_free(batch)
        assert not failed, f"llama_decode gave {failed}"

    def _best(self, index: int) -> int:
        logits = self._lib.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(logits, (self._vocab,)).argmax())
