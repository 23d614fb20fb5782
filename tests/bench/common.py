"""What the benchmarks share: the models, the machine, medians. Knows no engine and no peer."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.config import EMBEDDED_MODEL

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "diglot-bench"
THREADS = 2
SMOLLM2_135M: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "torch_dtype": "float32",
}


QWEN2_05B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "torch_dtype": "bfloat16",
}
RANDOM = {"135m": ("smollm2-135m", SMOLLM2_135M), "0.5b": ("qwen2.5-0.5b", QWEN2_05B)}
"""Shapes whose weights do not matter to speed."""


def model_directory(name: str) -> Path:
    """Directory of `embedded` or of a shape of `RANDOM` (random weights, made on first use)."""
    return EMBEDDED_MODEL if name == "embedded" else _random(*RANDOM[name])


def _random(name: str, config: dict[str, Any]) -> Path:
    folder = CACHE / f"{name}-random"
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(_byte_tokenizer(config["vocab_size"])))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    save_file(_random_weights(config), folder / "model.safetensors", {"format": "pt"})
    return folder


def _random_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, config["torch_dtype"])
    hidden, inter = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=generator) * columns**-0.5).to(dtype)

    weights = {
        "model.embed_tokens.weight": matrix(config["vocab_size"], hidden),
        "model.norm.weight": torch.ones(hidden, dtype=dtype),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in (
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", inter, hidden),
            ("mlp.up_proj", inter, hidden),
            ("mlp.down_proj", hidden, inter),
        ):
            weights[f"{prefix}{name}.weight"] = matrix(rows, columns)
            if config["model_type"] == "qwen2" and name[-6:] in ("q_proj", "k_proj", "v_proj"):
                weights[f"{prefix}{name}.bias"] = matrix(rows, columns)[:, 0].contiguous()
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = torch.ones(hidden, dtype=dtype)
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


def peer_note(wanted: bool, *modules: str) -> str | None:
    """Why the peer does not take part; None when it does."""
    if not wanted:
        return "skipped: --no-peers"
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"skipped: no {', '.join(missing)}; `make bench-peers` installs it" if missing else None


def median(values: list[float], digits: int = 1) -> float:
    """Median, rounded for printing."""
    return round(statistics.median(values), digits)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def interleave(
    rounds: int, runs: dict[str, Callable[[], dict[str, float]]], digits: int = 1
) -> dict[str, Any]:
    """Run each contestant in turn, `rounds` times; medians of every figure by contestant.

    Taking turns spreads what else the machine does over all of them alike.
    """
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            for figure, value in run().items():
                seen[name].setdefault(figure, []).append(value)
    return {
        name: {figure: median(values, digits) for figure, values in figures.items()}
        for name, figures in seen.items()
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    pressure = Path("/proc/pressure/cpu")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": THREADS,
        "torch": torch.__version__,
        "cpu_pressure": pressure.read_text().split()[1] if pressure.exists() else None,
    }
