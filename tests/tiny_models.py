"""Makes tiny models with random weights, complete enough for the whole engine to load.

A directory gets config.json, generation_config.json, safetensors, and a byte tokenizer with a
ChatML template: ids 0 to 255 are the bytes, the four ids after them are special. Needs neither
network nor `transformers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file

Family = Literal[
    "llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "gpt_oss"
]

END_OF_TEXT, TURN, END_OF_TURN, PAD = 256, 257, 258, 259
SPECIAL_TOKENS = {
    "<|endoftext|>": END_OF_TEXT,
    "<|im_start|>": TURN,
    "<|im_end|>": END_OF_TURN,
    "<|pad|>": PAD,
}
VOCAB_SIZE = 260

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_ARCHITECTURES: dict[Family, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
}

_GEMMAS = ("gemma2", "gemma3_text")

_GPT_OSS_ROPE = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 128,
    "truncate": False,
}


def make_tiny_model(
    directory: Path,
    family: Family = "llama",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    **overrides: object,
) -> Path:
    """Write a tiny model into `directory` (made if needed) and return it.

    Args:
        seed: of the weights; equal arguments give equal files.
        dtype: what the weights are saved in.
        shards: number of weights files; above 1 there is an index.
        overrides: keys of config.json, in Hugging Face's spelling; None writes null.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = tiny_config(family, dtype=dtype, **overrides)
    _write_json(directory / "config.json", config)
    ends = [END_OF_TURN, END_OF_TEXT]
    _write_json(directory / "generation_config.json", {"eos_token_id": ends})
    _write_weights(directory, _random_weights(config, seed, dtype), shards)
    write_byte_tokenizer(directory)
    return directory


def make_reciting_model(directory: Path, text: str) -> Path:
    """Write a tiny model that says one text after every newline, and ends; return its directory.

    Each byte follows from the one before it alone, so `text` must be ASCII without a character that
    comes twice. Nothing is added to the embeddings on their way to the head.
    """
    make_tiny_model(directory, tie_word_embeddings=False)
    chain = [*f"\n{text}".encode(), END_OF_TURN]
    assert len(set(chain)) == len(chain), "a character comes twice"
    weights = load_file(directory / "model.safetensors")
    embedded, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    for name, values in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) or values is embedded:
            values.zero_()
    head.zero_()
    for place, (token, following) in enumerate(pairwise(chain)):
        embedded[token, place], head[following, place] = 1, 10
    _write_weights(directory, weights, 1)
    return directory


def tiny_config(
    family: Family = "llama", *, dtype: torch.dtype = torch.float32, **overrides: object
) -> dict[str, object]:
    """A config.json: 2 layers of 64, 4 heads that share 2 key-value heads, a context of 512."""
    config: dict[str, object] = {
        "architectures": [_ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": True,
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": END_OF_TURN,
        "pad_token_id": PAD,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    if family == "mistral":
        config["sliding_window"] = None
    if family == "qwen3_moe":
        config |= {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48}
        config |= {"norm_topk_prob": True}
    if family in _GEMMAS:  # soft caps and windows that tell
        config |= {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24}
        config |= {"sliding_window": 24}
    if family == "gemma2":
        config |= {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 20.0}
    if family == "gemma3_text":
        config |= {"sliding_window_pattern": 2, "rope_local_base_freq": 1_000.0}
    if family == "gpt_oss":
        config |= {"num_local_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 96}
        config |= {"sliding_window": 24, "swiglu_limit": 7.0, "attention_bias": True}
        config |= {"rope_theta": 150_000.0, "rope_scaling": _GPT_OSS_ROPE}
    return config | overrides


def write_byte_tokenizer(
    directory: Path,
    special_tokens: Mapping[str, int] = SPECIAL_TOKENS,
    chat_template: str = CHAT_TEMPLATE,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja: one token per byte."""
    added = [
        {"id": token_id, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for text, token_id in special_tokens.items()
    ]
    vocabulary = {_byte_letter(byte): byte for byte in range(256)} | dict(special_tokens)
    _write_json(
        directory / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": False,
                "use_regex": False,
            },
            "post_processor": None,
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": False,
                "use_regex": False,
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": vocabulary,
                "merges": [],
            },
        },
    )
    _write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|endoftext|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|pad|>",
            "clean_up_tokenization_spaces": False,
            "chat_template": chat_template,
        },
    )
    (directory / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def _byte_letter(byte: int) -> str:
    """The printable character that stands for a byte in a byte-level vocabulary (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in printable:
        return chr(byte)
    return chr(256 + sum(other not in printable for other in range(byte)))


Shapes = dict[str, tuple[int, ...]]


def _size(config: dict[str, object], key: str) -> int:
    value = config[key]
    assert isinstance(value, int)
    return value


def _linear(name: str, out: int, into: int, bias: bool) -> Shapes:
    weight: Shapes = {f"{name}.weight": (out, into)}
    return weight | ({f"{name}.bias": (out,)} if bias else {})


def _weight_shapes(config: dict[str, object]) -> Shapes:
    hidden, vocabulary = _size(config, "hidden_size"), _size(config, "vocab_size")
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(_size(config, "num_hidden_layers")):
        prefix = f"model.layers.{layer}."
        shapes |= _attention_shapes(f"{prefix}self_attn.", config)
        shapes |= _mlp_shapes(f"{prefix}mlp.", config)
        shapes[f"{prefix}input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}post_attention_layernorm.weight"] = (hidden,)
        if config["model_type"] in _GEMMAS:
            shapes[f"{prefix}pre_feedforward_layernorm.weight"] = (hidden,)
            shapes[f"{prefix}post_feedforward_layernorm.weight"] = (hidden,)
        if config["model_type"] in {"qwen3", "qwen3_moe", "gemma3_text"}:
            head_dim = _size(config, "head_dim")
            shapes[f"{prefix}self_attn.q_norm.weight"] = (head_dim,)
            shapes[f"{prefix}self_attn.k_norm.weight"] = (head_dim,)
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return shapes


def _attention_shapes(prefix: str, config: dict[str, object]) -> Shapes:
    family, hidden, heads = (
        config["model_type"],
        _size(config, "hidden_size"),
        "num_attention_heads",
    )
    queries = _size(config, heads) * _size(config, "head_dim")
    keys = _size(config, "num_key_value_heads") * _size(config, "head_dim")
    may_be_biased = {"llama", "qwen3", "qwen3_moe", "gpt_oss", *_GEMMAS}
    bias_everywhere = bool(config.get("attention_bias")) and family in may_be_biased
    qkv_bias = bias_everywhere or family == "qwen2"
    shapes = {
        **_linear(f"{prefix}q_proj", queries, hidden, qkv_bias),
        **_linear(f"{prefix}k_proj", keys, hidden, qkv_bias),
        **_linear(f"{prefix}v_proj", keys, hidden, qkv_bias),
        **_linear(f"{prefix}o_proj", hidden, queries, bias_everywhere),
    }
    return shapes | ({f"{prefix}sinks": (_size(config, heads),)} if family == "gpt_oss" else {})


def _mlp_shapes(prefix: str, config: dict[str, object]) -> Shapes:
    if config["model_type"] == "gpt_oss":
        return _fused_shapes(prefix, config)
    hidden, biased = _size(config, "hidden_size"), bool(config.get("mlp_bias"))
    shapes: Shapes = {}
    mlps, wide = [prefix], "intermediate_size"
    if config["model_type"] == "qwen3_moe":
        experts = _size(config, "num_experts")
        shapes |= _linear(f"{prefix}gate", experts, hidden, False)
        mlps, wide = [f"{prefix}experts.{n}." for n in range(experts)], "moe_intermediate_size"
    for mlp in mlps:
        shapes |= _linear(f"{mlp}gate_proj", _size(config, wide), hidden, biased)
        shapes |= _linear(f"{mlp}up_proj", _size(config, wide), hidden, biased)
        shapes |= _linear(f"{mlp}down_proj", hidden, _size(config, wide), biased)
    return shapes


def _fused_shapes(prefix: str, config: dict[str, object]) -> Shapes:
    """Of a gpt-oss layer; weights in four bits count bytes."""
    experts, hidden = _size(config, "num_local_experts"), _size(config, "hidden_size")
    wide = _size(config, "intermediate_size")
    shapes = _linear(f"{prefix}router", experts, hidden, True)
    for name, out, into in (("gate_up", 2 * wide, hidden), ("down", hidden, wide)):
        whole = f"{prefix}experts.{name}_proj"
        shapes[f"{whole}_bias"] = (experts, out)
        if "quantization_config" in config:
            shapes[f"{whole}_blocks"] = (experts, out, into // 32, 16)
            shapes[f"{whole}_scales"] = (experts, out, into // 32)
        else:
            shapes[whole] = (experts, into, out)
    return shapes


def _random_weights(
    config: dict[str, object], seed: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Weights that keep activations near 1, so that logits spread over a few nats."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for name, shape in _weight_shapes(config).items():
        if name.endswith(("_blocks", "_scales")):  # scales of 1/16 to 1/64
            low, high = (0, 256) if name.endswith("_blocks") else (121, 124)
            numbers = torch.randint(low, high, shape, generator=generator, dtype=torch.uint8)
            weights[name] = numbers
            continue
        values = torch.randn(shape, generator=generator)
        if "gate_up_proj_bias" in name:
            values *= 2  # beyond the bounds of gates and values
        elif "embed_tokens" in name or "lm_head" in name:
            values *= 0.3
        elif name.endswith("norm.weight"):
            values = (config["model_type"] not in _GEMMAS) + 0.1 * values
        else:
            values *= 0.1 if name.endswith("bias") else shape[-1] ** -0.5
        weights[name] = values.to(dtype)
    return weights


def _write_weights(directory: Path, weights: dict[str, torch.Tensor], shards: int) -> None:
    if shards == 1:
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in list(weights)[shard::shards]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    _write_json(directory / "model.safetensors.index.json", index)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
