"""SUPPORT.md: every control and field of both dialects, made from the code that reads them.

`python -m tests.support` writes the page anew. Knows the tables that the server reads requests by;
nothing of what fields do.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine import SamplingParams
from engine import sampling_params as engine_params
from server.gemini import sampling as gemini
from server.gemini.schema import GenerateContentRequest, GenerationConfig, ThinkingConfig, Tool
from server.openai.chat_schema import ChatRequest
from server.openai.completions_schema import CompletionRequest
from server.openai.responses.answering import NAMES as RESPONSE_NAMES
from server.openai.responses.request import ResponseRequest
from server.openai.sampling import NAMES
from server.openai.wire import Body, schema_of

PAGE = Path(__file__).parent.parent / "SUPPORT.md"
ENDPOINTS: dict[str, type[Body]] = {
    "completions": CompletionRequest,
    "chat": ChatRequest,
    "responses": ResponseRequest,
}
CHAT_NAMES = {**NAMES, "max_new_tokens": "max_completion_tokens"}
ENGINE_NAMES: dict[str, Mapping[str, str]] = {
    "completions": NAMES,
    "chat": CHAT_NAMES,
    "responses": RESPONSE_NAMES,
}
GRAMMAR_FIELDS = {
    "completions": "`response_format`, `structured_outputs`, `guided_*`",
    "chat": "`response_format`, `structured_outputs`, `guided_*`",
    "responses": "`text.format`, `structured_outputs`, `guided_*`",
    "gemini": "`responseMimeType`, `responseSchema`, `responseJsonSchema`",
}
INTRODUCTION = """# What is supported

Made from the code that reads requests (`python -m tests.support`); a test fails when it is not up
to date. **yes** fields do what their API says they do. **refused** fields are answered with 400 and
their name whenever they ask for anything. Fields with **no effect** are about accounts,
bookkeeping or other kinds of models: nothing that is generated could depend on them. All other
fields are unknown: they are passed over, or refused with `--strict-fields`.
"""


def page() -> str:
    """The page as it should be."""
    parts = [
        INTRODUCTION,
        "## Controls\n\nOne line is one control of the engine; it means the same under every name.",
        _controls(),
        "## Fields of the OpenAI dialect",
        _openai_fields(),
        "## Fields of the Gemini dialect",
        _gemini_fields(),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _controls() -> str:
    rows: list[tuple[str, ...]] = [
        ("control", "range", "default", *ENDPOINTS, "Gemini `generationConfig`")
    ]
    by_engine = {internal: name for name, internal in gemini.PARAMETER_NAMES.items()}
    for field in msgspec.structs.fields(SamplingParams):
        name = field.name
        if name == "grammar":
            rows.append((name, "", "none", *GRAMMAR_FIELDS.values()))
            continue
        cells = [_openai_name(kind, name) for kind in ENDPOINTS]
        config = by_engine.get(name)
        cells.append(f"`{_camel(config)}`" if config else "")
        rows.append((f"`{name}`", _engine_range(name), _engine_default(field), *cells))
    return _table(rows)


def _openai_name(endpoint: str, internal: str) -> str:
    name = ENGINE_NAMES[endpoint].get(internal, internal)
    return f"`{name}`" if name in ENDPOINTS[endpoint].model_fields else ""


def _engine_range(name: str) -> str:
    found = engine_params._RANGES.get(name)  # pyright: ignore[reportPrivateUsage]
    return "" if found is None else _range(*found)


def _engine_default(field: Any) -> str:
    if field.default is msgspec.NODEFAULT:
        return "none"
    return "none" if field.default in (None, ()) else str(field.default).lower()


def _openai_fields() -> str:
    names = {
        name
        for kind in ENDPOINTS.values()
        for name in (*kind.model_fields, *kind.refused, *kind.ignored, *kind.aliases)
    }
    rows: list[tuple[str, ...]] = [("field", *ENDPOINTS)]
    for name in sorted(names):
        rows.append((f"`{name}`", *(_status(kind, name) for kind in ENDPOINTS.values())))
    return _table(rows)


def _status(kind: type[Body], name: str) -> str:
    if name in kind.aliases:
        return f"as `{kind.aliases[name]}`"
    if name in kind.model_fields:
        return " ".join(filter(None, ("yes", _limits(schema_of(kind)["properties"][name]))))
    if name in kind.ignored:
        return "no effect"
    return "refused" if name in kind.refused else ""


def _limits(schema: dict[str, Any]) -> str:
    """Range and default of a field, as its schema has them."""
    options = [schema, *schema.get("anyOf", ())]
    bounds = [option for option in options if "minimum" in option or "exclusiveMinimum" in option]
    said: list[str] = []
    if bounds:
        low = bounds[0].get("minimum", bounds[0].get("exclusiveMinimum"))
        said.append(_range(low, bounds[0].get("maximum", float("inf"))))
    default = schema.get("default")
    if isinstance(default, (bool, int, float, str)):
        said.append(f"default {str(default).lower()}")
    return f"({'; '.join(said)})" if said else ""


def _gemini_fields() -> str:
    rows: list[tuple[str, ...]] = [("field", "status")]
    for prefix, kind in (
        ("", GenerateContentRequest),
        ("tools[].", Tool),
        ("generationConfig.", GenerationConfig),
        ("generationConfig.thinkingConfig.", ThinkingConfig),
    ):
        for name, hint in typing.get_type_hints(kind).items():
            if name in kind.__struct_fields__:
                status = _gemini_status(kind, name, hint)
                rows.append((f"`{prefix}{_camel(name)}`", status))
    return _table(rows)


def _gemini_status(kind: Any, name: str, hint: Any) -> str:
    if name in getattr(kind, "NO_EFFECT", ()):
        return "no effect"
    if name == "cached_content" or (kind is Tool and name != "function_declarations"):
        return "refused"
    internal = gemini.PARAMETER_NAMES.get(name) if kind is GenerationConfig else None
    limits = _engine_range(internal) if internal else ""
    fixed = {
        "candidate_count": f"1 to {gemini.MAX_CANDIDATES}",
        "stop_sequences": f"at most {gemini.MAX_STOP_SEQUENCES}",
        "max_output_tokens": "1 and more; at most what fits",
    }
    said = fixed.get(name, limits) or _members(hint)
    return f"yes ({said})" if said else "yes"


def _members(hint: Any) -> str:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return ", ".join("boolean" for option in options if option is bool)


def _range(low: float, high: float) -> str:
    return f"{low:g} and more" if high == float("inf") else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    exact = int(value) if float(value).is_integer() else value
    for bits in (31, 63):
        if exact in (2**bits - 1, -(2**bits)):
            return f"{'-' if exact < 0 else ''}2^{bits}{'' if exact < 0 else ' - 1'}"
    return f"{exact}"


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body)])


def refresh() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    refresh()
