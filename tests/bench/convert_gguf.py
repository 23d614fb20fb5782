"""Models' directories as GGUF files, for llama.cpp: the same weights by its names.

Knows GGUF's names for a decoder's tensors and sizes. Its library is imported when it is needed: it
is not among the packages that the tests need.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

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
    "mlp.router": "ffn_gate_inp",
}
_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss"}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def converted(model: Path, dtype: str, cache: Path) -> Path:
    """A GGUF file of a directory of one of `_FAMILIES`, made on first use; `dtype` may be int8, for
    Q8_0. Norms, biases and routers stay in float32."""
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
                _add(writer, _gguf_name(name, config["model_type"]), tensor, dtype)
        for layer in range(config["num_hidden_layers"]):
            if "num_experts" in config:
                _add_experts(writer, file, layer, config["num_experts"], dtype)
            if "num_local_experts" in config:
                _add_fused_experts(writer, file, layer)
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
    experts = config.get("num_experts", config.get("num_local_experts"))
    if experts is not None:
        wide = config.get("moe_intermediate_size", config["intermediate_size"])
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(wide)
    if config["model_type"] == "gpt_oss":
        _add_yarn(writer, config["rope_scaling"])
        writer.add_sliding_window(config["sliding_window"])


def _add_yarn(writer: Any, scaling: dict[str, Any]) -> None:
    gguf: Any = import_module("gguf")
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(scaling["factor"])
    writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])


def _add_experts(writer: Any, file: Any, layer: int, experts: int, dtype: str) -> None:
    """One tensor for a projection of all experts."""
    for part in ("gate", "up", "down"):
        name = "model.layers.{}.mlp.experts.{}.{}_proj.weight".format
        stacked = [file.get_tensor(name(layer, number, part)) for number in range(experts)]
        _add(writer, f"blk.{layer}.ffn_{part}_exps.weight", torch.stack(stacked), dtype)


def _add_fused_experts(writer: Any, file: Any, layer: int) -> None:
    """Of gpt-oss, in four bits: gates and values apart, and the weights of a block's second half in
    the higher bits."""
    prefix = f"model.layers.{layer}.mlp.experts."
    for name, parts in (("gate_up", ("gate", "up")), ("down", ("down",))):
        blocks, scales, bias = (
            file.get_tensor(f"{prefix}{name}_proj_{kind}") for kind in ("blocks", "scales", "bias")
        )
        weights = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2)
        halves = weights[..., :16] | weights[..., 16:] << 4
        whole = torch.cat((scales.unsqueeze(-1), halves), dim=-1).flatten(-2)
        for place, part in enumerate(parts):
            target, outputs = f"blk.{layer}.ffn_{part}_exps", slice(place, None, len(parts))
            _add_four_bits(writer, f"{target}.weight", whole[:, outputs])
            _add(writer, f"{target}.bias", bias[:, outputs], "float32")


def _add_four_bits(writer: Any, name: str, blocks: torch.Tensor) -> None:
    gguf: Any = import_module("gguf")
    kind = gguf.GGMLQuantizationType.MXFP4
    writer.add_tensor(name, blocks.contiguous().numpy(), raw_dtype=kind)


def _add(writer: Any, name: str, tensor: torch.Tensor, dtype: str) -> None:
    gguf: Any = import_module("gguf")
    kinds = gguf.GGMLQuantizationType
    numbers = tensor.float().contiguous().numpy()
    if dtype == "float32" or tensor.dim() == 1 or "gate_inp" in name:
        writer.add_tensor(name, numbers)
        return
    kind = kinds.Q8_0 if dtype == "int8" else kinds.BF16
    writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)


def _gguf_name(name: str, family: str) -> str:
    base, _, kind = name.rpartition(".")
    if base in _TOP:
        return f"{_TOP[base]}.{kind}"
    number, part = base.removeprefix("model.layers.").split(".", 1)
    if kind == "sinks":
        return f"blk.{number}.attn_sinks.weight"
    if family == "gpt_oss" and part == "post_attention_layernorm":
        return f"blk.{number}.post_attention_norm.{kind}"
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
