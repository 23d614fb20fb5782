"""Laws of structured output, on a tiny random model: the text always fits its grammar, and what
runs beside a request never changes it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.core import EngineCore
from engine.errors import InvalidParameter
from engine.ipc import Refusal, SequenceOutput, Submit
from engine.sampling_params import Grammar, SamplingParams
from engine.streams import OpenStream
from engine.types import FinishReason, GenerationRequest
from tests.engine.laws import make_core, run, sampled, tokens
from tests.engine.text.samples import byte_level
from tests.tiny_models import END_OF_TEXT, END_OF_TURN, make_tiny_model

PROMPT = [(7 * n) % 251 for n in range(150)]
SECONDS = 60

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kind": {"enum": ["a cat", "a dog", None]},
        "scores": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "scores"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "number", "minimum": -1, "maximum": 1},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
DATES = {
    "type": "array",
    "prefixItems": [{"type": "string", "format": "date"}, {"const": {"fixed": [1, "two"]}}],
    "items": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[A-Z]{2,4}$"}]},
    "minItems": 2,
    "maxItems": 4,
}
SCHEMAS = {"person": PERSON, "tree": TREE, "dates": DATES}


def constrained(
    request_id: str, grammar: Grammar, seed: int, count: int = 300, **params: object
) -> Submit:
    made = SamplingParams(
        grammar=grammar,
        seed=seed,
        temperature=1.5,
        max_new_tokens=count,
        **params,  # pyright: ignore[reportArgumentType]
    )
    return Submit(request_id, tuple(PROMPT), made)


def schema(keywords: dict[str, object]) -> Grammar:
    return Grammar("json_schema", json.dumps(keywords))


def subject(**params: object) -> Submit:
    """Penalties and bias too, so that everything kept between steps must agree."""
    controls = {"frequency_penalty": 0.2, "repetition_penalty": 1.1, "logit_bias": {34: 0.5}}
    return constrained("subject", schema(PERSON), 5, **{**controls, **params})


def text(outputs: list[SequenceOutput]) -> str:
    kept = [token for token in tokens(outputs) if token < 256]
    return bytes(kept).decode("utf-8", "strict")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture(scope="module")
def core(model: Path) -> EngineCore:
    return make_core(model, threads=1)


@pytest.fixture(scope="module")
def alone(model: Path) -> list[int]:
    """The subject's tokens in an engine of its own, with nothing cached."""
    core = make_core(model, threads=1, prefix_cache=False)
    outputs = run(core, [subject()])["subject"]
    assert outputs[-1].finish_reason is FinishReason.STOP
    return tokens(outputs)


def crowd(size: int) -> list[Submit]:
    """Neighbours with and without grammars."""
    grammars = [schema(PERSON), schema(TREE), Grammar("json_object"), Grammar("regex", "[ab]*c")]
    return [
        constrained(f"mate-{n}", grammars[n // 2 % 4], n, count=10 + 3 * n)
        if n % 2
        else sampled(f"mate-{n}", PROMPT[: 5 + 7 * n % 140], n, count=5 + n)
        for n in range(size)
    ]


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_ends_by_itself_satisfies_its_schema(core: EngineCore, name: str) -> None:
    requests = [constrained(f"{name}-{n}", schema(SCHEMAS[name]), n) for n in range(12)]
    outputs = run(core, requests)
    complete = [o for o in outputs.values() if o[-1].finish_reason is FinishReason.STOP]
    assert len(complete) >= 6
    for output in complete:
        jsonschema.validate(json.loads(text(output)), SCHEMAS[name])
        assert tokens(output)[-1] in {END_OF_TEXT, END_OF_TURN}
    for output in outputs.values():
        assert not {END_OF_TEXT, END_OF_TURN} & set(tokens(output)[:-1])
        if output not in complete:
            assert len(tokens(output)) == 300


def test_any_json_object(core: EngineCore) -> None:
    requests = [constrained(f"any-{n}", Grammar("json_object"), n) for n in range(8)]
    for output in run(core, requests).values():
        if output[-1].finish_reason is FinishReason.STOP:
            assert isinstance(json.loads(text(output)), dict)
        assert text(output[:1])[0] == "{"


@pytest.mark.parametrize("logprobs", [None, 0])
def test_choices_expressions_and_rules(core: EngineCore, logprobs: int | None) -> None:
    grammars = [
        (Grammar("choice", '["red", "green", "dark green"]'), "red|green|dark green"),
        (Grammar("regex", "[0-9]{3}-[0-9]{2}"), "[0-9]{3}-[0-9]{2}"),
        (Grammar("lark", 'start: "<" name ">" \nname: /[a-z]{2}/'), "<[a-z]{2}>"),
    ]
    requests = [
        constrained(f"g-{n}", grammar, n, logprobs=logprobs)
        for n, (grammar, _) in enumerate(grammars)
    ]
    outputs = run(core, requests)
    for n, (_, pattern) in enumerate(grammars):
        assert re.fullmatch(pattern, text(outputs[f"g-{n}"]))


def test_a_seeded_request_is_the_same_beside_20_others(core: EngineCore, alone: list[int]) -> None:
    mates = crowd(20)
    outputs = run(core, [*mates[:9], subject(), *mates[9:]])
    assert tokens(outputs["subject"]) == alone


@pytest.mark.parametrize("budget", [3, 7, 64])
def test_chunking_changes_nothing(model: Path, alone: list[int], budget: int) -> None:
    core = make_core(model, threads=1, max_num_batched_tokens=budget, prefix_cache=False)
    assert tokens(run(core, [*crowd(3), subject()])["subject"]) == alone


def test_preemption_changes_nothing(model: Path, alone: list[int]) -> None:
    core = make_core(model, threads=1, kv_cache_tokens=16 * 25, prefix_cache=False)
    older = [constrained(f"older-{n}", schema(TREE), n, count=150) for n in range(3)]
    outputs = run(core, [*older, subject()])
    assert core.stats.preemptions > 0, "the cache is too large for this test"
    assert tokens(outputs["subject"]) == alone


def test_forced_tokens_are_those_that_would_have_been_drawn(
    core: EngineCore, alone: list[int]
) -> None:
    before = core.stats.steps
    assert tokens(run(core, [subject()])["subject"]) == alone
    skipping, before = core.stats.steps - before, core.stats.steps
    outputs = run(core, [subject(logprobs=1)])["subject"]
    assert tokens(outputs) == alone
    assert core.stats.steps - before == len(alone)
    assert skipping < len(alone) * 0.7
    assert all(len(o.logprobs) == len(o.token_ids) for o in outputs)


def test_forced_tokens_respect_the_limit(core: EngineCore) -> None:
    grammar = Grammar("regex", "[ab]" + "long" * 50)
    (output,) = run(core, [constrained("cut", grammar, 0, count=21)]).values()
    assert len(tokens(output)) == 21
    assert output[-1].finish_reason is FinishReason.LENGTH
    assert core.stats.blocks_used == 0


def test_samples_of_one_grammar_go_their_own_ways(core: EngineCore) -> None:
    outputs = run(core, [constrained(f"n-{n}", schema(PERSON), n) for n in range(4)])
    assert len({text(output) for output in outputs.values()}) == 4


@pytest.mark.parametrize("params", [{"ignore_eos": True}, {"allowed_token_ids": tuple(b"xyz")}])
def test_a_complete_text_stops_without_an_end_id(core: EngineCore, params: dict[str, Any]) -> None:
    (output,) = run(core, [constrained("end", Grammar("regex", "[xyz]{5}"), 1, **params)]).values()
    assert output[-1].finish_reason is FinishReason.STOP
    assert len(text(output)) == len(tokens(output)) == 5


def test_wishes_that_exclude_each_other_are_refused(core: EngineCore) -> None:
    request = constrained("odd", Grammar("regex", "[abc]x"), 1, allowed_token_ids=tuple(b"abc"))
    core.submit(request)
    error = finish(core, "odd")
    assert isinstance(error, Refusal) and error.parameter == "allowed_token_ids"
    assert core.stats.blocks_used == core.stats.running == 0


def test_a_minimum_beyond_the_grammar_gives_way(core: EngineCore) -> None:
    requests = [
        constrained(f"min-{lp}", Grammar("regex", "a{1,4}"), 1, min_tokens=50, logprobs=lp)
        for lp in (None, 0)
    ]
    for output in run(core, requests).values():
        assert text(output) == "aaaa"
        assert output[-1].finish_reason is FinishReason.STOP


def test_an_abort_forgets_a_sequence_that_waits_for_its_grammar(core: EngineCore) -> None:
    core.submit(constrained("gone", schema({**PERSON, "title": "never seen before"}), 0))
    assert core.stats.waiting == 1
    core.abort(["gone"])
    assert core.stats.waiting == 0
    assert core.has_work and core.step() is not None
    assert not core.has_work


HOSTILE = {
    "expression": Grammar("regex", "(["),
    "reference": schema({"$ref": "#/$defs/nothing"}),
    "rule": Grammar("lark", "start: nowhere"),
    "memory": Grammar("regex", "a?" * 50_000),
    "depth": Grammar("json_schema", '{"items":' * 10_000 + "{}" + "}" * 10_000),
    "exponential": schema(
        {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}c"} for n in range(10, 40)]}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_grammar_is_refused_while_a_neighbour_goes_on(
    core: EngineCore, name: str
) -> None:
    params = SamplingParams(temperature=0, ignore_eos=True, max_new_tokens=360)
    core.submit(Submit("neighbour", tuple(PROMPT), params))
    core.step()
    core.submit(constrained("hostile", HOSTILE[name], 0))
    longest, began = 0.0, time.monotonic()
    error = None
    while error is None and time.monotonic() - began < SECONDS:
        started = time.monotonic()
        step = core.step()
        longest = max(longest, time.monotonic() - started)
        for output in step.outputs if step else ():
            error = output.error or error
            assert output.error is None or output.request_id == "hostile"
    assert isinstance(error, Refusal) and error.parameter == "grammar"
    assert len(error.reason) <= 300
    assert longest < 1, "a step waited for a compiler"
    core.abort(["neighbour"])


def finish(core: EngineCore, request_id: str) -> object:
    """The error by which a request ends."""
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        step = core.step()
        for output in step.outputs if step else ():
            if output.request_id == request_id and output.error is not None:
                return output.error
    pytest.fail("it does not end")


def test_a_request_id_in_use_is_refused_while_its_grammar_is_compiled(core: EngineCore) -> None:
    first = constrained("twice", schema({**PERSON, "title": "also never seen"}), 0, count=3)
    core.submit(first)
    core.submit(first)
    error = finish(core, "twice")
    assert isinstance(error, Refusal) and error.parameter == "request_id"
    core.abort(["twice"])


def test_what_a_client_is_told() -> None:
    grammar = Grammar("regex", "([")
    params = SamplingParams(grammar=grammar)
    stream = OpenStream(GenerationRequest("a", (1,), params), byte_level())
    stream.push(SequenceOutput(request_id="a", error=Refusal("grammar", "is wrong.")))
    assert stream.finished
    with pytest.raises(InvalidParameter, match="Invalid 'grammar': is wrong.") as refused:
        stream.__anext__().send(None)
    assert refused.value.value == grammar
