"""What load_spec makes of the spellings of config.json, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ModelLoadError
from engine.models.rope import RopeSpec
from engine.models.spec import ModelSpec, load_spec
from tests.tiny_models import Family, tiny_config


def spec_of(
    directory: Path,
    family: Family = "llama",
    *,
    without: tuple[str, ...] = (),
    generation: dict[str, object] | None = None,
    **overrides: object,
) -> ModelSpec:
    config = tiny_config(family) | overrides
    for key in without:
        del config[key]
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (directory / "generation_config.json").write_text(json.dumps(generation))
    return load_spec(directory)


def test_reads_sizes(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, num_hidden_layers=3)
    assert (spec.family, spec.vocab_size, spec.hidden_size) == ("llama", 260, 64)
    assert (spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim) == (3, 4, 2, 16)
    assert spec.kv_bytes_per_token(torch.bfloat16) == 2 * 3 * 2 * 16 * 2


def test_head_sizes_when_absent(tmp_path: Path) -> None:
    absent = ("head_dim", "num_key_value_heads")
    spec = spec_of(tmp_path, "llama", without=absent)
    assert (spec.head_dim, spec.num_kv_heads) == (16, 4)
    spec = spec_of(tmp_path, "mistral", num_key_value_heads=None, head_dim=None)
    assert (spec.head_dim, spec.num_kv_heads) == (16, 4)
    assert spec_of(tmp_path, "qwen3", without=("head_dim",)).head_dim == 128


@pytest.mark.parametrize(
    ("config_ids", "generation", "expected"),
    [
        (5, None, (5,)),
        ([5, 6], {}, (5, 6)),
        (5, {"eos_token_id": [7, 8]}, (7, 8)),
        (5, {"eos_token_id": 7}, (7,)),
        (5, {"eos_token_id": None}, (5,)),
        (None, None, ()),
    ],
)
def test_generation_config_wins_for_ends(
    config_ids: object,
    generation: dict[str, object] | None,
    expected: tuple[int, ...],
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, generation=generation, eos_token_id=config_ids)
    assert spec.eos_token_ids == expected


@pytest.mark.parametrize(
    ("family", "overrides", "windows"),
    [
        ("llama", {"sliding_window": 8}, (None, None)),
        ("mistral", {"sliding_window": 8}, (8, 8)),
        ("mistral", {"sliding_window": None}, (None, None)),
        ("qwen2", {"sliding_window": 8}, (None, None)),
        ("qwen2", {"sliding_window": 8, "use_sliding_window": True}, (None, None)),
        (
            "qwen2",
            {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
            (None, 8),
        ),
        (
            "qwen3",
            {
                "sliding_window": 8,
                "use_sliding_window": True,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            (8, None),
        ),
    ],
)
def test_windows(
    family: Family, overrides: dict[str, Any], windows: tuple[int | None, ...], tmp_path: Path
) -> None:
    assert spec_of(tmp_path, family, **overrides).layer_windows == windows


@pytest.mark.parametrize(
    ("family", "overrides", "windows"),
    [
        ("gemma2", {"sliding_window": 8}, (8, None, 8, None)),
        ("gemma2", {"sliding_window": None}, (None,) * 4),
        ("gemma3_text", {"sliding_window": 8, "sliding_window_pattern": 3}, (8, 8, None, 8)),
        (
            "gemma3_text",
            {"sliding_window": 8, "layer_types": ["full_attention", *["sliding_attention"] * 3]},
            (None, 8, 8, 8),
        ),
    ],
)
def test_windows_of_gemma(
    family: Family, overrides: dict[str, Any], windows: tuple[int | None, ...], tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, family, num_hidden_layers=4, **overrides)
    assert spec.layer_windows == windows


def test_what_gemma_leaves_out_is_as_hugging_face_has_it(tmp_path: Path) -> None:
    absent = ("head_dim", "num_key_value_heads", "hidden_activation", "tie_word_embeddings")
    absent += ("query_pre_attn_scalar", "rope_theta", "hidden_act")
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    spec = spec_of(tmp_path, "gemma2", without=absent + caps)
    assert (spec.num_kv_heads, spec.head_dim) == (4, 256)
    assert spec.activation == "gelu_tanh" and spec.tie_word_embeddings
    assert (spec.attention_scale, spec.embedding_scale) == (1 / 16, 8.0)
    assert (spec.attention_cap, spec.logit_cap) == (50.0, 30.0)
    assert spec.layer_ropes == (RopeSpec(theta=1e4),) * 2
    absent += ("rope_local_base_freq", "sliding_window_pattern")
    spec = spec_of(tmp_path, "gemma3_text", without=absent, num_hidden_layers=6)
    assert spec.layer_windows == (24,) * 5 + (None,)
    assert (spec.attention_cap, spec.logit_cap) == (None, None)
    assert spec.layer_ropes == (RopeSpec(theta=1e4),) * 5 + (RopeSpec(theta=1e6),)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"hidden_activation": "gelu"}, "gelu"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ({"attn_logit_softcapping": -1.0}, "attn_logit_softcapping"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "sliding_attention"),
    ],
)
def test_refuses_gemmas_by_name(overrides: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=named):
        spec_of(tmp_path, "gemma3_text", **overrides)


def test_mistral_without_the_key_has_its_first_window(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "mistral", without=("sliding_window",))
    assert spec.layer_windows == (4096, 4096)


def test_both_spellings_of_rope_are_one(tmp_path: Path) -> None:
    scaling: dict[str, object] = {"factor": 2.0, "original_max_position_embeddings": 256}
    old = spec_of(tmp_path, rope_theta=5e5, rope_scaling={"type": "linear", **scaling})
    new = spec_of(
        tmp_path,
        without=("rope_theta",),
        rope_parameters={"rope_type": "linear", "rope_theta": 5e5, **scaling},
    )
    assert old.rope == new.rope == RopeSpec("linear", 5e5, 2.0)


def test_dtype_in_both_spellings(tmp_path: Path) -> None:
    assert spec_of(tmp_path, torch_dtype="float16").dtype == torch.float16
    assert spec_of(tmp_path, torch_dtype=None, dtype="bfloat16").dtype == torch.bfloat16
    assert spec_of(tmp_path, torch_dtype=None).dtype == torch.float32


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"model_type": None}, "model_type"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "novelty": 1}}, "novelty"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "full_attention"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"num_key_value_heads": 3}, "key-value heads"),
        ({"head_dim": 15}, "head_dim"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"vocab_size": None}, "vocab_size"),
        ({"torch_dtype": "float8_e4m3fn"}, "float8_e4m3fn"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
    ],
)
def test_refuses_by_name(overrides: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=named):
        spec_of(tmp_path, **overrides)


@pytest.mark.parametrize(
    ("family", "overrides", "named"),
    [
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types"),
        ("qwen3", {"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
        ("qwen3_moe", {"num_experts_per_tok": 9}, "num_experts_per_tok"),
        ("qwen3_moe", {"moe_intermediate_size": None}, "moe_intermediate_size"),
        ("gpt_oss", {"swiglu_limit": 5.0}, "swiglu_limit"),
        ("gpt_oss", {"hidden_act": "gelu_pytorch_tanh"}, "gelu_pytorch_tanh"),
        ("gpt_oss", {"num_experts_per_tok": 7}, "num_experts_per_tok"),
        ("gpt_oss", {"quantization_config": {"quant_method": "gptq"}}, "gptq"),
    ],
)
def test_refuses_by_name_what_a_family_may_ask_for(
    family: Family, overrides: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelLoadError, match=named):
        spec_of(tmp_path, family, **overrides)


def test_gpt_oss_has_windows_and_sinks(tmp_path: Path) -> None:
    absent = ("sliding_window", "head_dim", "num_key_value_heads", "rope_theta", "attention_bias")
    absent += ("torch_dtype",)
    path = tmp_path / "config.json"
    config = tiny_config("gpt_oss", num_hidden_layers=3, num_attention_heads=8)
    path.write_text(json.dumps({key: config[key] for key in config.keys() - set(absent)}))
    spec = load_spec(tmp_path)
    assert spec.layer_windows == (128, None, 128) and spec.sinks and spec.output_bias
    assert (spec.head_dim, spec.num_kv_heads, spec.rope.theta) == (64, 8, 150_000.0)
    assert spec.activation == "clamped" and not spec.rope.truncate
    assert spec.dtype == torch.bfloat16


def test_a_token_meets_only_its_own_experts(tmp_path: Path) -> None:
    dense = spec_of(tmp_path / "dense", "qwen3", intermediate_size=48)
    experts = spec_of(tmp_path / "experts", "qwen3_moe", num_experts=16)
    mlp = 3 * 64 * 48
    added = experts.layer_weights - dense.layer_weights
    assert added == experts.num_layers * (2 * mlp + 64 * 16)


def test_refuses_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        load_spec(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="JSON"):
        load_spec(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelLoadError, match="object"):
        load_spec(tmp_path)
