"""The README's examples, run as they stand against a live server; only the port is another.

Knows nothing of what the answers say, only that they are answers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import readme

pytestmark = pytest.mark.e2e

ADDRESS = "http://127.0.0.1:8000"


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Standard output of a command that must succeed and print something."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"PYTHONUTF8": "1"} | (environment or {}),
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.strip(), "no output"
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("code", readme.examples("bash"))
def test_curl_example(code: str, live_server: str, tmp_path: Path) -> None:
    # A status above 399 must end curl with an error; the page spares its reader that flag.
    (tmp_path / ".curlrc").write_text('fail\nsilent\nshow-error\nnoproxy = "*"\n')
    command = code.replace(ADDRESS, live_server)
    output = run(["bash", "-euo", "pipefail", "-c", command], {"CURL_HOME": str(tmp_path)})
    assert '"error"' not in output


@pytest.mark.parametrize("code", readme.examples("python"))
def test_sdk_example(code: str, live_server: str) -> None:
    run([sys.executable, "-c", code.replace(ADDRESS, live_server)])
