"""Which model and which verb a Gemini URL path means.

Model ids may hold `/` and `:`, versions and collections may be missing: `/models/qwen3:8b:verb`,
`/v1beta/Qwen/Qwen3-8B:verb`, `/v1/tunedModels/m:verb` and
`/v1/projects/p/locations/l/publishers/google/models/m:verb` (or `.../endpoints/m:verb`) are all
calls. Knows nothing of which models exist or which verbs are offered.
"""

from __future__ import annotations

import re

import msgspec

VERSIONS = ("v1beta", "v1alpha", "v1beta1", "v1")
COLLECTIONS = ("models", "tunedModels", "dynamic")
DEFAULT_VERSION = "v1beta"

_PROJECT = r"projects/[^/]+/locations/[^/]+/"
_VERTEX = re.compile(rf"(?:{_PROJECT})?publishers/([^/]+)/models/(.+)")
"""Where Vertex AI has its models; clients put the first half of an id `a/b` for the publisher."""
_ENDPOINT = re.compile(rf"{_PROJECT}endpoints/(.+)")
"""Where Vertex AI has models that were tuned."""


class Target(msgspec.Struct, frozen=True):
    """The parts of a path. `verb` is empty when the path addresses the model itself."""

    model: str
    verb: str
    version: str = DEFAULT_VERSION


def parse_call(path: str) -> Target:
    """The target of a percent-decoded path `[/{v}][/{collection}]/{model}:{verb}`.

    The last colon splits the verb off. Model and verb come back empty when they are missing.
    """
    resource, _, verb = path.rpartition(":")
    version, model = _split_version(resource)
    return Target(_strip_collection(model), verb, version)


def parse_resource(path: str) -> Target:
    """The target of a percent-decoded path `[/{v}][/{collection}]/{model}`."""
    version, model = _split_version(path)
    return Target(_strip_collection(model), "", version)


def bare_model_id(name: str) -> str:
    """A model id without its collection: `models/m`, `tunedModels/m` and `m` are all `m`."""
    return _strip_collection(name)


def _split_version(path: str) -> tuple[str, str]:
    rest = path.lstrip("/")
    head, slash, tail = rest.partition("/")
    return (head, tail) if slash and head in VERSIONS else (DEFAULT_VERSION, rest)


def _strip_collection(name: str) -> str:
    vertex = _VERTEX.fullmatch(name)
    if vertex:
        publisher, model = vertex.groups()
        return model if publisher == "google" else f"{publisher}/{model}"
    endpoint = _ENDPOINT.fullmatch(name)
    if endpoint:
        return endpoint[1]
    head, slash, tail = name.partition("/")
    return tail if slash and head in COLLECTIONS else name
