from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from engine.errors import EngineError, EngineFault, InvalidParameter, ModelLoadError
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.trial_process import TrialProcess
from engine.sampling_params import Grammar
from tests.engine.grammar.samples import VOCAB_SIZE, byte_compiler, regex, schema, table

SECONDS = 60  # on a busy machine


@pytest.fixture(scope="module")
def compiler() -> Iterator[GrammarCompiler]:
    yield byte_compiler()


def chain(length: int) -> Grammar:
    """Schemas that refer to each other in a row: the compiler recurses as deep."""
    parts = {f"{i}": {"items": {"$ref": f"#/$defs/{i + 1}"}} for i in range(length)}
    return schema(**{"$ref": "#/$defs/0", "$defs": {**parts, f"{length}": {"type": "null"}}})


HOSTILE = {
    "stack overflow in a schema": chain(2800),
    "stack overflow in a grammar": Grammar(
        "lark", "\n".join(["start: r0", *(f"r{i}: r{i + 1}" for i in range(7000)), 'r7000: "a"'])
    ),
    "memory": regex("a?" * 50_000),
    "time or memory": schema(type="integer", multipleOf=999_983),
    "exponential expressions": schema(
        allOf=[{"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}c"} for n in range(10, 40)]
    ),
    "exponential schema": schema(
        allOf=[
            {"anyOf": [{"type": "object", "properties": {f"k{i}": {"const": j}}} for j in range(4)]}
            for i in range(12)
        ]
    ),
    "nested JSON": Grammar("json_schema", '{"items":' * 10_000 + "{}" + "}" * 10_000),
    "nested groups": regex("(" * 20_000 + "a" + ")" * 20_000),
    "nested rules": Grammar("lark", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grammars_are_refused_and_harm_nothing(
    compiler: GrammarCompiler, name: str
) -> None:
    began = time.monotonic()
    error = compiler.compile(HOSTILE[name]).exception(SECONDS)
    assert isinstance(error, InvalidParameter)
    assert error.parameter == "grammar"
    assert len(error.reason) <= 300 and "\n" not in error.reason
    assert time.monotonic() - began < SECONDS / 2
    assert compiler.compile(schema(title=name)).result(SECONDS)


def test_a_large_but_honest_schema_is_taken(compiler: GrammarCompiler) -> None:
    values = [f"value number {i}" for i in range(3000)]
    many = {f"key{i}": {"type": "string"} for i in range(300)}
    grammar = schema(type="object", properties={**many, "one": {"enum": values}})
    assert compiler.compile(grammar).result(SECONDS)
    assert compiler.compile(chain(200)).result(SECONDS)


def test_equal_grammars_are_compiled_once(compiler: GrammarCompiler) -> None:
    first = compiler.compile(schema(type="object", title="once"))
    second = compiler.compile(schema(type="object", title="once"))
    assert first.result(SECONDS) is second.result(SECONDS)
    other = compiler.compile(schema(type="array", title="once"))
    assert other.result(SECONDS) is not first.result()


def test_a_failure_is_remembered_too(compiler: GrammarCompiler) -> None:
    first = compiler.compile(regex("(*)"))
    assert compiler.compile(regex("(*)")) is first
    assert isinstance(first.exception(SECONDS), InvalidParameter)


def test_the_least_recently_used_is_forgotten_first() -> None:
    compiler = byte_compiler()
    kept = compiler.compile(regex("kept"))
    gone = compiler.compile(regex("gone"))
    for number in range(63):
        compiler.compile(regex(f"x{number}")).exception(SECONDS)
        assert compiler.compile(regex("kept")) is kept
    assert compiler.compile(regex("gone")) is not gone


def test_a_cancelled_compile_can_be_asked_for_again(compiler: GrammarCompiler) -> None:
    busy = [compiler.compile(HOSTILE["time or memory"]), compiler.compile(regex("b" * 1000))]
    queue = [compiler.compile(regex(f"queued {number}")) for number in range(200)]
    assert queue[-1].cancel(), "two hundred are not done at once"
    again = compiler.compile(regex("queued 199"))
    assert again is not queue[-1]
    assert again.result(SECONDS)
    assert all(future.done() for future in busy)


def test_whoever_waits_is_told() -> None:
    compiler = byte_compiler()
    told: list[bool] = []
    compiler.on_settled = lambda: told.append(True)
    futures = [compiler.compile(Grammar("json_object")), compiler.compile(regex("("))]
    while len(told) < 2:
        time.sleep(0.001)
    assert all(future.done() for future in futures)


def test_a_tokenizer_that_cannot_be_loaded_fails_the_grammar_as_what_it_is() -> None:
    def load() -> None:
        raise ModelLoadError("no tokenizer here")

    compiler = GrammarCompiler(load, VOCAB_SIZE, [])  # pyright: ignore[reportArgumentType]
    error = compiler.compile(Grammar("json_object")).exception(SECONDS)
    assert isinstance(error, EngineError) and not isinstance(error, InvalidParameter)


def test_a_trial_that_cannot_start_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = byte_compiler()
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nowhere/python")
        error = compiler.compile(Grammar("json_object")).exception(SECONDS)
    assert isinstance(error, EngineFault)
    assert compiler.compile(Grammar("json_object")).result(SECONDS)


def test_a_killed_trial_is_replaced() -> None:
    trial = TrialProcess(table())
    assert trial.verdict(json.dumps({"grammars": [{"lark_grammar": 'start: "a"'}]})) == ""
    process = trial._process  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    process.kill()
    process.wait()
    assert "nowhere" in trial.verdict(
        json.dumps({"grammars": [{"lark_grammar": "start: nowhere"}]})
    )
