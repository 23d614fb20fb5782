"""Further names of the served model, in both dialects."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.__main__ import main
from server.settings import ServerSettings
from tests.server.client import Client

SETTINGS = ServerSettings(alias=["gpt-4o=diglot-mini,gemini-2.5-flash=diglot-mini"])
GOOGLE = {"x-goog-api-key": "x"}


def client() -> Client:
    return Client(settings=SETTINGS)


def test_an_alias_is_served_and_reported_as_it_was_asked_for() -> None:
    one = client()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    assert one.post("/v1/chat/completions", body).json["model"] == "gpt-4o"
    assert one.post("/v1/responses", {"model": "gpt-4o", "input": "Hi"}).json["model"] == "gpt-4o"
    contents = {"contents": [{"parts": [{"text": "Hi"}]}]}
    answer = one.post("/v1beta/models/gpt-4o:generateContent", contents).json
    assert answer["modelVersion"] == "diglot-mini"


def test_aliases_are_listed_after_the_real_names() -> None:
    names = ["diglot-mini", "gpt-4o", "gemini-2.5-flash"]
    one = client()
    assert [model["id"] for model in one.get("/v1/models").json["data"]] == names
    listed = one.get("/v1beta/models").json["models"]
    assert [model["name"] for model in listed] == [f"models/{name}" for name in names]
    for name in names:
        assert one.get(f"/v1/models/{name}").json["id"] == name
        assert one.get(f"/v1beta/models/{name}").json["name"] == f"models/{name}"


@pytest.mark.parametrize("name", ["gemini-3-pro", "gemma-4-31b-it", "gemini-flash-latest"])
def test_googles_own_names_mean_the_served_model_to_gemini_clients(name: str) -> None:
    one = client()
    for path in (f"/v1beta/models/{name}", f"/v1/models/{name}"):
        found = one.get(path, headers=GOOGLE).json
        assert found["name"] == f"models/{name}" and found["baseModelId"] == "diglot-mini"
    assert one.get(f"/v1/models/{name}").status == 404
    assert one.get("/v1/models/gemni-3-pro", headers=GOOGLE).status == 404


@pytest.mark.parametrize("alias", ["gpt-4o", "=diglot-mini", "gpt-4o=other"])
def test_an_alias_of_nothing_is_an_error_at_the_start(
    alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValidationError, match="alias=name"):
        ServerSettings(alias=[alias])
    assert main(["serve", "--alias", alias]) == 2
    assert alias in capsys.readouterr().err


def test_a_key_file_that_is_no_use_ends_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "keys"
    empty.write_text("# no key yet\n\n")
    for path in (empty, tmp_path / "missing"):
        assert main(["serve", "--port", "0", "--api-key-file", str(path)]) == 2
        assert str(path) in capsys.readouterr().err
