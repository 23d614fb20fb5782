"""Nothing missing, nothing spare, nothing of another shape; and tiny models that are complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from engine.errors import ModelLoadError
from engine.models.decoder import Decoder
from engine.models.spec import load_spec
from engine.models.weights import load_decoder
from tests.engine.models.attention_doubles import CPU, SelfAttention
from tests.tiny_models import END_OF_TURN, TURN, make_tiny_model


def load(directory: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    return load_decoder(
        directory,
        load_spec(directory),
        dtype=dtype,
        device=CPU,
        max_model_len=64,
        batch_invariant=True,
    )


def rewrite(directory: Path, **changes: torch.Tensor | None) -> None:
    """Change tensors of a model; None removes one. `__` in a name stands for a dot."""
    weights = load_file(directory / "model.safetensors")
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del weights[key]
        else:
            weights[key] = tensor
    save_file(weights, directory / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model__layers__1__mlp__up_proj__weight", None, "up_proj.weight is missing"),
        ("model__norm__weight", torch.ones(63), r"norm.weight is \[63\]"),
        ("model__norm__weight", torch.ones(64, dtype=torch.int8), "int8"),
        ("model__layers__0__self_attn__q_proj__bias", torch.ones(64), "no use for .*q_proj.bias"),
        ("model__layers__2__mlp__up_proj__weight", torch.ones(1), "no use for .*layers.2"),
    ],
)
def test_refuses_by_name(
    name: str, tensor: torch.Tensor | None, message: str, tmp_path: Path
) -> None:
    make_tiny_model(tmp_path)
    rewrite(tmp_path, **{name: tensor})
    with pytest.raises(ModelLoadError, match=message):
        load(tmp_path)


def test_tolerates_harmless_extras(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    rewrite(
        tmp_path,
        lm_head__weight=torch.ones(260, 64),
        model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(8),
    )
    load(tmp_path)


def test_an_untied_head_must_be_there(tmp_path: Path) -> None:
    make_tiny_model(tmp_path, tie_word_embeddings=False)
    rewrite(tmp_path, lm_head__weight=None)
    with pytest.raises(ModelLoadError, match=r"lm_head.weight is missing"):
        load(tmp_path)


def test_refuses_files_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelLoadError, match="Cannot read"):
        load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 3}, {"a": "../a.safetensors"}, {"a": "b"}])
def test_refuses_a_bad_index(weight_map: object, tmp_path: Path) -> None:
    make_tiny_model(tmp_path, shards=2)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelLoadError):
        load(tmp_path)


def test_shards_and_one_file_are_the_same_model(tmp_path: Path) -> None:
    one, three = make_tiny_model(tmp_path / "1"), make_tiny_model(tmp_path / "3", shards=3)
    ids = torch.arange(10)
    hidden = [load(path).forward(ids, ids, SelfAttention()) for path in (one, three)]
    assert torch.equal(*hidden)


def test_progress_ends_at_one(tmp_path: Path) -> None:
    make_tiny_model(tmp_path, num_hidden_layers=4)
    told: list[float] = []
    load_decoder(
        tmp_path,
        load_spec(tmp_path),
        dtype=torch.float32,
        device=CPU,
        max_model_len=64,
        batch_invariant=True,
        progress=told.append,
    )
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_half_precision_is_near_single(tmp_path: Path) -> None:
    make_tiny_model(tmp_path, "qwen3")
    ids = torch.arange(10)
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        decoder = load(tmp_path, dtype)
        logits.append(decoder.logits(decoder.forward(ids, ids, SelfAttention())))
    assert logits[1].dtype == torch.float32
    assert (logits[0] - logits[1]).abs().max() < 0.3


def test_the_byte_tokenizer_maps_bytes_to_themselves(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "".join(map(chr, range(1, 300))) + " \u2603\U0001f600"
    assert tokenizer.encode(text).ids == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text
    assert tokenizer.encode("<|im_start|>a<|im_end|>").ids == [TURN, 97, END_OF_TURN]
