"""Writes a trained network as the files a server or `transformers` loads.

Knows the Llama parameter names and config keys. Does not know how the weights came to be.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from engine.default_model.training.model import Decoder, Shape
from engine.default_model.training.tokens import SPECIAL_TOKENS


def special_id(shape: Shape, token: str) -> int:
    """Id of a special token: they are the last ids of the vocabulary."""
    return shape.vocab_size - len(SPECIAL_TOKENS) + SPECIAL_TOKENS.index(token)


def llama_config(shape: Shape) -> dict[str, object]:
    """`config.json` of `LlamaForCausalLM` for this shape."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.rms_norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": special_id(shape, "<|endoftext|>"),
        "eos_token_id": special_id(shape, "<|im_end|>"),
        "pad_token_id": special_id(shape, "<|pad|>"),
        "torch_dtype": "bfloat16",
    }


def generation_config(shape: Shape) -> dict[str, object]:
    """`generation_config.json`: both the turn end and the document end stop a reply."""
    ends = [special_id(shape, "<|im_end|>"), special_id(shape, "<|endoftext|>")]
    return {
        "bos_token_id": ends[1],
        "eos_token_id": ends,
        "pad_token_id": special_id(shape, "<|pad|>"),
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.95,
    }


def export(model: Decoder, folder: Path) -> None:
    """Writes `model.safetensors` (bfloat16), `config.json` and `generation_config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"model.{name}": weight.detach().to("cpu", torch.bfloat16).contiguous()
        for name, weight in model.named_parameters()
    }
    partial = folder / "model.safetensors.partial"
    save_file(weights, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")
    for name, content in (
        ("config.json", llama_config(model.shape)),
        ("generation_config.json", generation_config(model.shape)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def load(folder: Path) -> Decoder:
    """The network back from an exported folder, in float32."""
    config = json.loads((folder / "config.json").read_text())
    shape = Shape(**{key: config[key] for key in Shape.__dataclass_fields__})
    model = Decoder(shape)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({n.removeprefix("model."): w.float() for n, w in weights.items()})
    return model.eval()
