"""llama.cpp as a contestant: the same weights as GGUF, tokens in, tokens out, greedy.

Knows GGUF's names for a Llama's tensors and llama.cpp's own batches; nothing of our engine. It is
imported when it takes part: it is not among the packages that the tests need.
"""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3_moe": "qwen3moe"}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def converted(model: Path, dtype: str, cache: Path) -> Path:
    """A GGUF file of a directory of one of `_FAMILIES`, made on first use. Norms, biases and
    routers stay in float32."""
    gguf: Any = import_module("gguf")
    target = cache / f"{model.name}-{dtype}.gguf"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(target, _FAMILIES[config["model_type"]])
    _add_sizes(writer, config)
    with safe_open(model / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  (not a dict)
            if ".experts." not in name:
                tensor = _as_rotated(file.get_tensor(name), name, config)
                _add(writer, _gguf_name(name), tensor, dtype)
        for layer in range(config["num_hidden_layers"] if "num_experts" in config else 0):
            _add_experts(writer, file, layer, config["num_experts"], dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_sizes(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    if "num_experts" in config:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def _add_experts(writer: Any, file: Any, layer: int, experts: int, dtype: str) -> None:
    """One tensor for a projection of all experts."""
    for part in ("gate", "up", "down"):
        name = "model.layers.{}.mlp.experts.{}.{}_proj.weight".format
        stacked = [file.get_tensor(name(layer, number, part)) for number in range(experts)]
        _add(writer, f"blk.{layer}.ffn_{part}_exps.weight", torch.stack(stacked), dtype)


def _add(writer: Any, name: str, tensor: torch.Tensor, dtype: str) -> None:
    gguf: Any = import_module("gguf")
    if dtype == "bfloat16" and tensor.dim() > 1 and "gate_inp" not in name:
        bits = tensor.bfloat16().contiguous().view(torch.uint8).numpy()
        writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, tensor.float().contiguous().numpy())


def _gguf_name(name: str) -> str:
    base, _, kind = name.rpartition(".")
    if base in _TOP:
        return f"{_TOP[base]}.{kind}"
    number, part = base.removeprefix("model.layers.").split(".", 1)
    return f"blk.{number}.{_NAMES[part]}.{kind}"


def _as_rotated(tensor: torch.Tensor, name: str, config: dict[str, Any]) -> torch.Tensor:
    if config["model_type"] == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
        return _interleaved(tensor, config[heads])
    return tensor


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp rotates neighbouring pairs of a Llama's head, Hugging Face its halves."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


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
        context.n_batch = context.n_ubatch = max(512, most_rows)
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
