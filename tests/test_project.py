"""That the pages around the code tell the truth: version, commands, settings, container recipe.

Knows nothing of how the server behaves.
"""

from __future__ import annotations

import re
import stat
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from engine.version import __version__
from tests import readme, statements, support

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_changelog_begins_with_this_version() -> None:
    assert re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)[0] == __version__


def test_installed_version_is_this_version() -> None:
    """Fails after a change of version until the package is installed anew, as `make` does."""
    try:
        installed = metadata.version("diglot")
    except metadata.PackageNotFoundError:
        pytest.skip("run from a tree that is not installed")
    assert installed == __version__


def test_packaging_reads_the_version_from_the_code() -> None:
    tool = tomllib.loads(read("pyproject.toml"))["tool"]
    assert tool["setuptools"]["dynamic"]["version"] == {"attr": "engine.version.__version__"}


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(line for extra in extras for line in extra)]
    pinned = {
        canonical(line) for line in re.findall(r"^([\w.-]+)==", read("constraints.txt"), re.M)
    }
    assert {canonical(re.split(r"[\[<>=!~ ]", line, maxsplit=1)[0]) for line in wanted} <= pinned


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_make_knows_every_command_on_the_pages() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    pages = read("README.md") + read(".ci/run")
    named = set(re.findall(r"(?:^|`|section )make (?:[A-Z_]+=\S* )*([a-z-]+)", pages, re.MULTILINE))
    assert {"serve", "test", "check", "bench"} <= named <= targets


def test_readme_lists_every_setting() -> None:
    assert readme.written_settings() == readme.settings_table(), "run: python -m tests.readme"


def test_readme_has_examples_for_both_dialects() -> None:
    shell, python = readme.examples("bash"), readme.examples("python")
    assert any("/v1/chat/completions" in code and '"stream": true' in code for code in shell)
    assert any(":generateContent" in code for code in shell)
    assert any(":streamGenerateContent" in code for code in shell)
    assert any("from openai import" in code and "stream=True" in code for code in python)
    assert any("google import genai" in code and "_stream(" in code for code in python)


def instructions() -> list[str]:
    """The Dockerfile's instructions, continuation lines joined, comments gone."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [line for line in joined.splitlines() if line.strip()]


def test_dockerfile_builds_with_docker_and_buildah_alike() -> None:
    recipe = instructions()
    assert recipe[0].startswith("ARG BASE_IMAGE=")
    assert not read("Dockerfile").startswith("# syntax")
    assert not [line for line in recipe if "<<" in line]
    assert not [
        line for line in recipe if re.search(r"--(link|parents|exclude|start-interval)", line)
    ]
    assert not [line for line in recipe if "type=secret" in line]


def test_dockerfile_has_both_targets_by_plain_name() -> None:
    stages = [line.split() for line in instructions() if line.startswith("FROM ")]
    assert all(len(words) == 4 and words[2] == "AS" for words in stages)
    assert {"cpu", "cuda"} <= {words[3] for words in stages}
    assert all("$" not in words[1] or words[1] == "${BASE_IMAGE}" for words in stages)


def test_image_serves_as_nobody_special() -> None:
    runtime = "\n".join(instructions())
    assert re.search(r"^USER 10001:10001$", runtime, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", runtime, re.MULTILINE)
    assert re.search(r'^ARG TORCH_INDEX=""$', runtime, re.MULTILINE)
    assert "torch==2.13.0" in read("constraints.txt")


@pytest.mark.parametrize("script", ["docker/entrypoint.sh", ".ci/run"])
def test_scripts_can_be_executed(script: str) -> None:
    assert (ROOT / script).stat().st_mode & stat.S_IXUSR


def test_every_statement_of_the_contracts_is_shown_against_a_process() -> None:
    found = statements.tests_by_statement()
    shown = {name for name, tests in found.items() if statements.against_a_process(tests)}
    assert set(statements.all_statements()) - shown == set(statements.WITHOUT)


def test_the_support_page_is_what_the_code_does() -> None:
    assert support.PAGE.read_text(encoding="utf-8") == support.page(), "python -m tests.support"
