"""Models to measure with: the embedded one, and shapes of well-known ones with random weights.

Weights do not matter to speed. Directories are made on first use and kept. Knows no engine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.config import EMBEDDED_MODEL
from tests.bench.common import CACHE


def _shape(family: str, architecture: str, sizes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """A config.json; `sizes` as in the table below."""
    hidden, wide, layers, heads, kv_heads, head_dim, vocabulary = sizes
    return {
        "architectures": [architecture],
        "model_type": family,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocabulary,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
        **more,
    }


_LLAMA, _QWEN2 = ("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM")
_QWEN3, _GEMMA3 = ("qwen3", "Qwen3ForCausalLM"), ("gemma3_text", "Gemma3ForCausalLM")
_QWEN3_MOE = ("qwen3_moe", "Qwen3MoeForCausalLM")
_GEMMA2 = ("gemma2", "Gemma2ForCausalLM")


def _experts(wide: int, experts: int, per_token: int) -> dict[str, Any]:
    return {
        "moe_intermediate_size": wide,
        "num_experts": experts,
        "num_experts_per_tok": per_token,
        "norm_topk_prob": True,
    }


_GPT_OSS = {
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "attention_bias": True,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "rope_theta": 150000.0,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "original_max_position_embeddings": 4096,
        "truncate": False,
    },
    "quantization_config": {"quant_method": "mxfp4", "dequantize": True},
    "tie_word_embeddings": False,
}
_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256}
SHAPES: dict[str, dict[str, Any]] = {
    # hidden, intermediate, layers, heads, key-value heads, size of a head, vocabulary
    "135m": _shape(*_LLAMA, (576, 1536, 30, 9, 3, 64, 49152), max_position_embeddings=2048),
    "0.5b": _shape(*_QWEN2, (896, 4864, 24, 14, 2, 64, 151936)),
    "qwen3-0.6b": _shape(*_QWEN3, (1024, 3072, 28, 16, 8, 128, 151936)),
    "llama-3.2-1b": _shape(*_LLAMA, (2048, 8192, 16, 32, 8, 64, 128256)),
    "llama-3.1-8b": _shape(
        *_LLAMA, (4096, 14336, 32, 32, 8, 128, 128256), tie_word_embeddings=False
    ),
    "gemma-3-270m": _shape(
        *_GEMMA3, (640, 2048, 18, 4, 1, 256, 262144), sliding_window=512, **_GEMMA
    ),
    "gemma-2-2b": _shape(
        *_GEMMA2, (2304, 9216, 26, 8, 4, 256, 256000), rope_theta=10000.0, **_GEMMA
    ),
    "moe-1b": _shape(*_QWEN3_MOE, (1024, 3072, 16, 16, 4, 64, 49152), **_experts(512, 32, 4)),
    "qwen3-30b/4": _shape(
        *_QWEN3_MOE,
        (2048, 6144, 12, 32, 4, 128, 151936),
        tie_word_embeddings=False,
        **_experts(768, 128, 8),
    ),
    "gpt-oss-20b/4": _shape(
        *("gpt_oss", "GptOssForCausalLM"), (2880, 2880, 6, 64, 8, 64, 50272), **_GPT_OSS
    ),
    "tiny": _shape(*_QWEN3, (64, 128, 2, 4, 2, 16, 512)),
}
"""By name: SmolLM2-135M, Qwen2.5-0.5B, what their names say, a small model with experts, and a
quarter each of Qwen3-30B-A3B's layers and of gpt-oss-20b's layers and vocabulary, its experts in
four bits (which `transformers` is told to expand, as it multiplies by them on cards only)."""


def model_directory(name: str) -> Path:
    """Directory of `embedded` or of a shape of `SHAPES`."""
    return EMBEDDED_MODEL if name == "embedded" else _random(name, SHAPES[name])


def _random(name: str, config: dict[str, Any]) -> Path:
    folder = CACHE / f"random-{name.replace('/', '-')}"
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(_byte_tokenizer(config["vocab_size"])))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    # Under another name until it is whole: somebody else may look for it meanwhile.
    unfinished = folder / f"unfinished-{os.getpid()}"
    save_file(_random_weights(config), unfinished, {"format": "pt"})
    unfinished.rename(folder / "model.safetensors")
    return folder


def _random_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Layers are alike: making billions of random numbers takes minutes, copying them seconds."""
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        numbers = torch.randn(rows, columns, generator=generator) * columns**-0.5
        return numbers.to(torch.bfloat16)

    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    weights = {
        "model.embed_tokens.weight": matrix(vocabulary, hidden),
        "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16),
    }
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(vocabulary, hidden)
    layer = _layer_weights(config, matrix)
    for number in range(config["num_hidden_layers"]):
        weights |= {f"model.layers.{number}.{name}": one.clone() for name, one in layer.items()}
    return weights


_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_BIASED = {"qwen2": _QKV, "gpt_oss": (*_QKV, "self_attn.o_proj")}


def _layer_weights(
    config: dict[str, Any], matrix: Callable[[int, int], torch.Tensor]
) -> dict[str, torch.Tensor]:
    hidden, size = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    ones = partial(torch.ones, dtype=torch.bfloat16)
    gemma = config["model_type"].startswith("gemma")
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if gemma else []
    weights = {f"{name}.weight": ones(hidden) for name in norms}
    for name, rows, columns in (
        ("self_attn.q_proj", queries, hidden),
        ("self_attn.k_proj", keys, hidden),
        ("self_attn.v_proj", keys, hidden),
        ("self_attn.o_proj", hidden, queries),
    ):
        weights[f"{name}.weight"] = matrix(rows, columns)
        if name in _BIASED.get(config["model_type"], ()):
            weights[f"{name}.bias"] = matrix(1, rows)[0]
    if config["model_type"] in ("qwen3", "qwen3_moe", "gemma3_text"):
        weights |= {f"self_attn.{part}_norm.weight": ones(size) for part in "qk"}
    return weights | _mlp_weights(config, matrix)


def _mlp_weights(
    config: dict[str, Any], matrix: Callable[[int, int], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Experts are alike, too; what goes to which of them is not."""
    if config["model_type"] == "gpt_oss":
        return _four_bit_experts(config, matrix)
    hidden, experts = config["hidden_size"], config.get("num_experts", 0)
    wide = config["moe_intermediate_size" if experts else "intermediate_size"]
    one = {
        "gate_proj.weight": matrix(wide, hidden),
        "up_proj.weight": matrix(wide, hidden),
        "down_proj.weight": matrix(hidden, wide),
    }
    if not experts:
        return {f"mlp.{name}": weight for name, weight in one.items()}
    weights = {"mlp.gate.weight": matrix(experts, hidden)}
    for number in range(experts):
        weights |= {f"mlp.experts.{number}.{name}": each.clone() for name, each in one.items()}
    return weights


def _four_bit_experts(
    config: dict[str, Any], matrix: Callable[[int, int], torch.Tensor]
) -> dict[str, torch.Tensor]:
    experts, hidden = config["num_local_experts"], config["hidden_size"]
    wide, heads = config["intermediate_size"], config["num_attention_heads"]
    weights = {
        "self_attn.sinks": matrix(1, heads)[0],
        "mlp.router.weight": matrix(experts, hidden),
        "mlp.router.bias": matrix(1, experts)[0],
    }
    for name, out, into in (("gate_up", 2 * wide, hidden), ("down", hidden, wide)):
        whole, shape = f"mlp.experts.{name}_proj", (experts, out, into // 32)
        weights[f"{whole}_bias"] = matrix(experts, out)
        weights[f"{whole}_blocks"] = torch.randint(256, (*shape, 16), dtype=torch.uint8)
        weights[f"{whole}_scales"] = torch.full(shape, 120, dtype=torch.uint8)
    return weights


def _byte_tokenizer(vocab_size: int) -> dict[str, Any]:
    """A byte-level vocabulary padded with made-up words, so that every id has a text."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocab = {"<|end|>": 0}
    for letter in sorted(ByteLevel.alphabet()):
        vocab[letter] = len(vocab)
    while len(vocab) < vocab_size:
        vocab[f"Ġw{len(vocab):x}"] = len(vocab)
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 0,
                "content": "<|end|>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
