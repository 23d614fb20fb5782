"""Where the clients live, and the servers they call.

They have environments of their own, made by `make test-clients`: `.venv-clients` for Python and
`node_modules` beside this file. Nothing of them is imported here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import EMBEDDED_MODEL
from tests.e2e.conftest import Server, start_server, stop_server

HERE = Path(__file__).parent
PYTHON_BIN = HERE.parent.parent / ".venv-clients" / "bin"
NODE_BIN = HERE / "node_modules" / ".bin"
MODEL = "diglot-mini"
WIDE = 65536

Run = Callable[..., str]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The embedded model, with keep-alive comments in every gap of a stream: clients skip them."""
    running = start_server("--log-level=warning", "--keep-alive-seconds=0.001")
    yield running
    stop_server(running)


@pytest.fixture(scope="session")
def wide_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded model with a context that agents' prompts fit into, which it was never trained
    for: it serves them, and what it says is what it says."""
    folder = tmp_path_factory.mktemp("model") / MODEL
    shutil.copytree(EMBEDDED_MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": WIDE}))
    running = start_server("--model", str(folder), "--log-level=warning")
    yield running
    stop_server(running)


def run_command(*command: str, cwd: Path, seconds: float = 120, **environment: str) -> str:
    """What a command says; it must end well."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def run_program(server: Server, name: str, *arguments: str) -> dict[str, Any]:
    """What a program under `programs/` reports."""
    interpreter = "node" if name.endswith(".mjs") else str(PYTHON_BIN / "python")
    said = run_command(
        interpreter,
        name,
        *arguments,
        cwd=HERE / "programs",
        DIGLOT_URL=server.url,
        DIGLOT_MODEL=MODEL,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    return json.loads(said.splitlines()[-1])
