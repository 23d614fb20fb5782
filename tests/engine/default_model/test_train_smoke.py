"""Training end to end on a toy: run, export, resume, evaluate, load elsewhere."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from engine.default_model.train import main
from engine.default_model.training.batches import IGNORED, ChatRows, PackedRows, chat_batch
from engine.default_model.training.chat import document_tokens
from engine.default_model.training.conversation import Conversation, assistant, user
from engine.default_model.training.evaluate import repetition
from engine.default_model.training.export import load
from engine.default_model.training.optim import orthogonalize, rate_factor
from engine.default_model.training.recipe import SYNTHETIC, Recipe
from engine.default_model.training.sample_corpus import write_sample_corpus

CONVERSATION = Conversation([user("a"), assistant("b c")])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    main(["run", "--smoke", "--work", str(folder)])
    return folder


def test_the_run_learns(work: Path) -> None:
    last = json.loads((work / "log.jsonl").read_text().splitlines()[-1])
    assert last["progress"] == 1.0
    assert last["held_out"]["tinystories"] < 4.5


def test_a_finished_run_stays_finished(work: Path) -> None:
    before = (work / "files" / "model.safetensors").read_bytes()
    main(["run", "--smoke", "--work", str(work)])
    assert (work / "files" / "model.safetensors").read_bytes() == before


def test_evaluate_reports(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, corpus = str(work / "files"), str(work / "corpus")
    main(["evaluate", "--files", files, "--corpus", corpus, "--reply-tokens", "12"])
    report = json.loads(capsys.readouterr().out)
    assert report["greedy"]["asked"] == 20
    assert set(report["held_out"]) == {"tinystories", "synth", *SYNTHETIC}


def test_transformers_gives_the_same_logits(work: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = load(work / "files")
    other = transformers.AutoModelForCausalLM.from_pretrained(work / "files", dtype=torch.float32)
    ids = torch.randint(0, model.shape.vocab_size, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), other(ids).logits, atol=1e-4, rtol=1e-4)


def test_batches_continue_where_they_stopped(work: Path) -> None:
    tokenizer = Tokenizer.from_file(str(work / "files" / "tokenizer.json"))
    sources = {"x": [document_tokens(tokenizer, CONVERSATION)] * 9}
    for make, draw in (
        (lambda: PackedRows(sources, {"x": 1.0}, 1), lambda feed: feed.batch(64, 16)),
        (lambda: ChatRows(sources, {"x": 1.0}, (16, 32), 1), lambda feed: feed.batch(64)),
    ):
        first, second = make(), make()
        draw(first)
        second.restore(first.state())
        assert torch.equal(draw(first).ids, draw(second).ids)


def test_only_the_assistants_words_are_targets(work: Path) -> None:
    tokenizer = Tokenizer.from_file(str(work / "files" / "tokenizer.json"))
    batch = chat_batch([document_tokens(tokenizer, CONVERSATION)], 64)
    targets = batch.targets[batch.targets != IGNORED].tolist()
    assert tokenizer.decode(targets, skip_special_tokens=False) == "b c<|im_end|>"


def test_orthogonalize_evens_out_singular_values() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(2, 24, 16)))
    assert values.min() > 0.5 and values.max() < 1.3


def test_rates_rise_and_fall() -> None:
    recipe = Recipe()
    assert rate_factor(0.0, recipe) < 0.1
    assert rate_factor(recipe.decay_from, recipe) == pytest.approx(1.0)
    assert rate_factor(1.0, recipe) == pytest.approx(recipe.final_rate)


def test_repetition_counts_repeated_runs() -> None:
    assert repetition([1, 2, 3, 4, 5, 6]) == 0.0
    assert repetition([1] * 10) == pytest.approx(1 - 1 / 7)


def test_run_without_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--work", str(tmp_path)])


def test_sample_corpus_is_repeatable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sample_corpus(tmp_path / name)
    one, two = (tmp_path / n / "chat" / "synth.jsonl" for n in ("a", "b"))
    assert one.read_text() == two.read_text()
