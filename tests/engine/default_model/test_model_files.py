"""The committed weights: their size, their end of turn, and a few replies."""

import json

import pytest
import torch
from tokenizers import Tokenizer

from engine.default_model.train import FILES
from engine.default_model.training.evaluate import GREEDY, reply
from engine.default_model.training.export import generation_config, llama_config, load
from engine.default_model.training.model import Decoder, parameter_count
from engine.default_model.training.questions import QUESTIONS
from engine.default_model.training.recipe import Recipe


@pytest.fixture(scope="module")
def model() -> Decoder:
    return load(FILES)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FILES / "tokenizer.json"))


def test_the_model_is_small(model: Decoder) -> None:
    assert parameter_count(model) < 8_000_000
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 16 * 2**20


def test_configs_are_those_of_the_recipe() -> None:
    shape = Recipe().shape
    assert json.loads((FILES / "config.json").read_text()) == llama_config(shape)
    written = json.loads((FILES / "generation_config.json").read_text())
    assert written == generation_config(shape)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 7])
def test_short_questions_are_answered(model: Decoder, tokenizer: Tokenizer, number: int) -> None:
    answer = reply(model, tokenizer, QUESTIONS[number], GREEDY, tokens=40)
    assert answer.ended and answer.right, answer.text


def test_transformers_gives_the_same_logits(model: Decoder) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoModelForCausalLM.from_pretrained(FILES, dtype=torch.float32)
    torch.manual_seed(0)
    ids = torch.randint(0, model.shape.vocab_size, (1, 60))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), other(ids).logits, atol=1e-3, rtol=1e-3)
