"""Command-line programs, unmodified: `llm`, lm-evaluation-harness, and two agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import EMBEDDED_MODEL
from engine.text.tokenizer import load_tokenizer
from tests.clients.conftest import HERE, MODEL, NODE_BIN, PYTHON_BIN, run_command
from tests.e2e.conftest import Server

HELLO = "Hello! How can I help you?"
TASK = HERE / "lm_eval_task"
STORIES = TASK / "stories.jsonl"


def test_llm(server: Server, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: {MODEL}\n  model_name: {MODEL}\n  api_base: {server.url}/v1\n"
        "  supports_schema: true\n"
    )

    def llm(*arguments: str) -> str:
        options = ("-m", MODEL, "--key", "none", "-o", "temperature", "0", *arguments)
        return run_command(
            str(PYTHON_BIN / "llm"), *options, cwd=tmp_path, LLM_USER_PATH=str(tmp_path)
        )

    assert llm("--no-stream", "Hello!").strip() == HELLO
    assert llm("Hello!").strip() == HELLO
    question = "Extract name and age: Anna is 31 years old."
    assert json.loads(llm("--schema", "name, age int", question)) == {"name": "Anna", "age": 31}


def test_f83_lm_eval_scores_as_transformers_does(server: Server, tmp_path: Path) -> None:
    task = (TASK / "diglot_stories.yaml").read_text().replace("DATA_FILE", str(STORIES))
    (tmp_path / "diglot_stories.yaml").write_text(task)
    arguments = {
        "model": MODEL,
        "base_url": f"{server.url}/v1/completions",
        "tokenizer_backend": "remote",
        "num_concurrent": "1",
    }
    run_command(
        str(PYTHON_BIN / "lm_eval"),
        "run",
        "--model=local-completions",
        "--model_args",
        ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--tasks=diglot_stories",
        f"--include_path={tmp_path}",
        f"--output_path={tmp_path / 'out'}",
        "--log_samples",
        cwd=tmp_path,
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HOME=str(tmp_path / "cache"),
    )
    [path] = (tmp_path / "out").rglob("samples_*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(samples) == 4
    for sample in samples:
        scored = float(sample["filtered_resps"][0][0])
        assert scored == pytest.approx(by_transformers(sample["doc"]), abs=1e-3)


def by_transformers(doc: dict[str, Any]) -> float:
    """The log-likelihood of the ending, in float32."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(EMBEDDED_MODEL)
    begin = tokenizer.encode(doc["beginning"], add_special_tokens=False)
    whole = tokenizer.encode(doc["beginning"] + doc["ending"], add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    with torch.inference_mode():
        logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    places = range(len(begin), len(whole))
    return sum(logprobs[place - 1, whole[place]].item() for place in places)


def test_codex(wide_server: Server, tmp_path: Path) -> None:
    home = tmp_path / ".codex"
    home.mkdir()
    (home / "config.toml").write_text(
        f'model = "{MODEL}"\nmodel_provider = "diglot"\n'
        '[model_providers.diglot]\nname = "diglot"\nwire_api = "responses"\n'
        f'base_url = "{wide_server.url}/v1"\nenv_key = "DIGLOT_KEY"\n'
    )
    answer = tmp_path / "answer.txt"
    run_command(
        str(NODE_BIN / "codex"),
        "exec",
        "--skip-git-repo-check",
        f"--output-last-message={answer}",
        "Hello!",
        cwd=tmp_path,
        seconds=280,
        HOME=str(tmp_path),
        CODEX_HOME=str(home),
        DIGLOT_KEY="none",
    )
    assert answer.read_text().strip()


@pytest.mark.parametrize("model", [MODEL, ""])
def test_g68_gemini_cli(wide_server: Server, tmp_path: Path, model: str) -> None:
    """Without a model of its own it asks a router first, under Google's own names."""
    settings = tmp_path / ".gemini" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"security": {"auth": {"selectedType": "gemini-api-key"}}}')
    chosen = ("-m", model) if model else ()
    said = run_command(
        str(NODE_BIN / "gemini"),
        *chosen,
        "--skip-trust",
        "-p",
        "say hi",
        cwd=tmp_path,
        seconds=290,
        HOME=str(tmp_path),
        GOOGLE_GEMINI_BASE_URL=wide_server.url,
        GEMINI_API_KEY="none",
    )
    assert said.strip()
