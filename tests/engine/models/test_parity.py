"""Logits against `transformers`, for every family and every variation that a config can ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.models.decoder import Decoder
from engine.models.spec import ModelSpec, load_spec
from engine.models.weights import load_decoder
from tests.engine.models.attention_doubles import CPU, RUNNERS
from tests.tiny_models import Family, make_tiny_model

transformers = pytest.importorskip("transformers")

PROMPT, DECODED = 70, 20
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    family: Family
    overrides: dict[str, Any] = field(default_factory=dict)
    shards: int = 1


LLAMA3_ROPE: dict[str, object] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_ROPE: dict[str, object] = {
    "type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
# The last for the oracle, which multiplies by four bits on cards only.
FOUR_BITS = {"quant_method": "mxfp4", "dequantize": True}

CASES = {
    "llama": Case("llama"),
    "llama-untied-sharded": Case("llama", {"tie_word_embeddings": False}, shards=3),
    "llama-biases": Case("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-one-kv-head": Case("llama", {"num_key_value_heads": 1}),
    "llama-odd-sizes": Case(
        "llama", {"hidden_size": 60, "intermediate_size": 100, "num_attention_heads": 6}
    ),
    "llama-rope-linear": Case("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    "llama-rope-llama3": Case("llama", {"rope_scaling": LLAMA3_ROPE, "rope_theta": 500_000.0}),
    "llama-rope-yarn": Case("llama", {"rope_scaling": YARN_ROPE}),
    "llama-rope-yarn-mscale": Case(
        "llama",
        {"rope_scaling": YARN_ROPE | {"mscale": 0.9, "mscale_all_dim": 0.5, "truncate": False}},
    ),
    "llama-rope-parameters": Case(
        "llama",
        {"rope_theta": None, "rope_parameters": LLAMA3_ROPE | {"rope_theta": 500_000.0}},
    ),
    "mistral": Case("mistral", {"tie_word_embeddings": False}),
    "mistral-window": Case("mistral", {"sliding_window": 24}),
    "qwen2": Case("qwen2"),
    "qwen2-upper-window": Case(
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    ),
    "qwen3": Case("qwen3"),
    "qwen3-moe": Case("qwen3_moe"),
    "qwen3-moe-not-normalized": Case(
        "qwen3_moe", {"norm_topk_prob": False, "num_experts": 5, "tie_word_embeddings": False}
    ),
    "gpt-oss": Case("gpt_oss"),
    "gpt-oss-no-biases": Case(
        "gpt_oss", {"attention_bias": False, "layer_types": ["full_attention"] * 2}
    ),
    "gpt-oss-four-bits": Case(
        "gpt_oss", {"quantization_config": FOUR_BITS, "tie_word_embeddings": False}
    ),
    "gemma2": Case("gemma2"),
    "gemma2-untied-biases": Case(
        "gemma2", {"tie_word_embeddings": False, "attention_bias": True, "hidden_size": 80}
    ),
    "gemma2-no-caps": Case(
        "gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    ),
    "gemma3": Case("gemma3_text", {"num_hidden_layers": 3}),
    "gemma3-rope-linear": Case(
        "gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    ),
    "gemma3-rope-parameters": Case(
        "gemma3_text",
        {
            "layer_types": ["full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e3},
            },
        },
    ),
    "qwen3-wide-heads": Case("qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
    "qwen3-layer-types": Case(
        "qwen3",
        {
            "use_sliding_window": True,
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
}


def load(directory: Path, *, batch_invariant: bool = True) -> tuple[ModelSpec, Decoder]:
    spec = load_spec(directory)
    decoder = load_decoder(
        directory,
        spec,
        dtype=torch.float32,
        device=CPU,
        max_model_len=spec.max_position_embeddings,
        batch_invariant=batch_invariant,
    )
    return spec, decoder


def token_ids() -> list[int]:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(256, (PROMPT + DECODED,), generator=generator).tolist()


@cache
def model_of(name: str, root: Path) -> Path:
    case = CASES[name]
    return make_tiny_model(root / name, case.family, shards=case.shards, **case.overrides)


@cache
def expected_logits(directory: Path) -> torch.Tensor:
    """What `transformers` says after each token, `[tokens, vocab]`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.inference_mode():
        return model(torch.tensor([token_ids()])).logits[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("attention", RUNNERS)
@pytest.mark.parametrize("name", CASES)
def test_logits_equal_transformers(name: str, attention: str, root: Path) -> None:
    directory = model_of(name, root)
    spec, decoder = load(directory)
    runner = RUNNERS[attention](decoder, spec)
    ids = token_ids()
    steps = [runner.run(ids[: PROMPT - 30]), runner.run(ids[PROMPT - 30 : PROMPT])]
    steps += [runner.run([token]) for token in ids[PROMPT:]]
    logits = decoder.logits(torch.cat(steps))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected_logits(directory), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_without_packing(
    batch_invariant: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.models.linear.can_pack", lambda weight: False)
    directory = model_of("llama-biases", root)
    spec, decoder = load(directory, batch_invariant=batch_invariant)
    logits = decoder.logits(RUNNERS["contiguous"](decoder, spec).run(token_ids()))
    torch.testing.assert_close(logits, expected_logits(directory), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "name", ["mistral-window", "llama-rope-yarn", "qwen2", "qwen3", "qwen3-moe", "gemma2", "gemma3"]
)
def test_reads_what_transformers_saves(name: str, root: Path, tmp_path: Path) -> None:
    directory = model_of(name, root)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    spec, decoder = load(tmp_path)
    assert spec == load_spec(directory)
    logits = decoder.logits(RUNNERS["contiguous"](decoder, spec).run(token_ids()))
    torch.testing.assert_close(logits, expected_logits(directory), atol=TOLERANCE, rtol=0)


def test_bfloat16_weights_compute_in_float32(root: Path) -> None:
    directory = make_tiny_model(root / "bfloat16", dtype=torch.bfloat16)
    spec, decoder = load(directory)
    assert spec.dtype == torch.bfloat16
    logits = decoder.logits(RUNNERS["contiguous"](decoder, spec).run(token_ids()))
    torch.testing.assert_close(logits, expected_logits(directory), atol=TOLERANCE, rtol=0)
