"""The model list, and the names a model answers to."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.server.gemini.conftest import Serve

PREFIXES = ["/v1beta", "/v1alpha", ""]
NAMES = ["org/big:7b", "small", "other"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_model_introduces_itself(serve: Serve, prefix: str) -> None:
    model = serve().get(f"{prefix}/models/diglot-mini").json()
    assert model["name"] == "models/diglot-mini"
    assert model["inputTokenLimit"] == 512
    assert "generateContent" in model["supportedGenerationMethods"]
    assert model["maxTemperature"] == 2


@pytest.mark.parametrize("prefix", PREFIXES)
def test_models_are_listed(serve: Serve, prefix: str) -> None:
    body = serve(served_model_name=NAMES).get(f"{prefix}/models").json()
    assert [model["name"] for model in body["models"]] == [f"models/{name}" for name in NAMES]
    assert "nextPageToken" not in body


@pytest.mark.parametrize(
    ("size", "token"), [("pageSize", "pageToken"), ("page_size", "page_token")]
)
def test_g57_the_list_comes_in_pages(serve: Serve, size: str, token: str) -> None:
    client = serve(served_model_name=NAMES)
    first = client.get("/v1beta/models", params={size: 2}).json()
    assert [model["name"] for model in first["models"]] == ["models/org/big:7b", "models/small"]
    second = client.get("/v1beta/models", params={size: 2, token: first["nextPageToken"]}).json()
    assert [model["name"] for model in second["models"]] == ["models/other"]
    assert "nextPageToken" not in second


def test_g57_pages_have_50_by_default_and_1000_at_most(serve: Serve) -> None:
    client = serve(served_model_name=[f"m{i}" for i in range(1200)])
    for size, expected in (({}, 50), ({"pageSize": 0}, 50), ({"pageSize": 5000}, 1000)):
        assert len(client.get("/v1beta/models", params=size).json()["models"]) == expected


@pytest.mark.parametrize("query", ["pageSize=-1", "pageSize=x", "pageToken=%C2%B2", "pageToken=no"])
def test_senseless_pages_are_400(serve: Serve, query: str) -> None:
    answer = serve().get(f"/v1beta/models?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("path", ["org/big:7b", "org%2Fbig%3A7b", "gemini-2.5-flash", "small"])
def test_any_name_of_the_model_finds_it(serve: Serve, path: str) -> None:
    model = serve(served_model_name=NAMES).get(f"/v1beta/models/{path}").json()
    assert model["name"] == "models/" + path.replace("%2F", "/").replace("%3A", ":")


def test_g59_an_unknown_model_is_404(serve: Serve) -> None:
    answer = serve().get("/v1beta/models/gpt-4")
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"


def test_there_are_no_tuned_models(serve: Serve) -> None:
    assert serve().get("/v1beta/tunedModels").json() == {"tunedModels": []}
    name = serve().get("/v1beta/tunedModels/diglot-mini").json()["name"]
    assert name == "models/diglot-mini"


VERTEX = "/v1/projects/p/locations/l/publishers/google/models"


def test_vertex_paths_are_served(client: TestClient) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    for base in (VERTEX, "/v1beta1/publishers/google/models"):
        answer = client.post(f"{base}/diglot-mini:generateContent", json=body)
        assert answer.json()["modelVersion"] == "diglot-mini"
        assert client.get(f"{base}/diglot-mini").json()["name"] == "models/diglot-mini"
        assert client.get(f"{base}/other").json()["error"]["status"] == "NOT_FOUND"
    listed = client.get("/v1/publishers/google/models").json()
    assert [model["name"] for model in listed["publisherModels"]] == ["models/diglot-mini"]


def test_g57_g58_the_shared_list_pages_for_gemini_clients_only(serve: Serve) -> None:
    one = serve(served_model_name=["a", "b", "c"])
    google = {"x-goog-api-key": "x"}
    page = one.get("/v1/models?pageSize=2", headers=google).json()
    assert [model["name"] for model in page["models"]] == ["models/a", "models/b"]
    rest = one.get(f"/v1/models?pageSize=2&pageToken={page['nextPageToken']}", headers=google)
    assert [model["name"] for model in rest.json()["models"]] == ["models/c"]
    assert len(one.get("/v1/models?pageSize=2").json()["data"]) == 3
