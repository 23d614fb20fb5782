"""The official client against this dialect, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from engine.errors import EngineError, EngineFault, Overloaded
from engine.types import GenerationRequest, TextDelta
from server.settings import ServerSettings
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL, live_server

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


@dataclass
class BusyEngine(ScriptedEngine):
    """Refuses as many requests as it was told to."""

    refusals: list[EngineError] = field(default_factory=list[EngineError])

    def generate(self, request: GenerationRequest) -> AsyncIterator[TextDelta]:
        if self.refusals:
            raise self.refusals.pop()
        return super().generate(request)


@pytest.fixture(scope="module")
def engine() -> BusyEngine:
    return BusyEngine()


@pytest.fixture(scope="module")
def client(engine: BusyEngine) -> Iterator[openai.OpenAI]:
    settings = ServerSettings(served_model_name=["org/name", MODEL], keep_alive_seconds=0.05)
    with live_server(engine, settings) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="any", timeout=20) as client:
            yield client


def test_answers(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model=MODEL, messages=MESSAGES, n=2)
    assert [choice.message.content for choice in chat.choices] == ["hello world"] * 2
    assert chat._request_id is not None
    text = client.completions.create(model=MODEL, prompt="a", max_tokens=5)
    assert text.choices[0].text == "hello"


def test_f30_f36_f37_the_stream_helper_reads_many_choices(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, n=3, stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == ["hello world"] * 3
    assert {choice.message.role for choice in final.choices} == {"assistant"}
    assert final.usage is not None and final.usage.completion_tokens == 36


def test_f77_comments_do_not_disturb(client: openai.OpenAI, engine: BusyEngine) -> None:
    engine.delay = 0.12
    try:
        stream = client.completions.create(model=MODEL, prompt="a", max_tokens=3, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == "hel"
    finally:
        engine.delay = 0


def test_f55_unknown_models(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="none", messages=MESSAGES)
    assert error.value.code == "model_not_found"
    assert error.value.request_id is not None


def test_f58_overload_is_retried(client: openai.OpenAI, engine: BusyEngine) -> None:
    engine.refusals = [Overloaded("Full.", retry_after=1)]
    assert client.completions.create(model=MODEL, prompt="a").choices[0].text
    assert engine.refusals == []
    engine.refusals = [Overloaded("Full.")] * 2
    patient = client.with_options(max_retries=0)
    with pytest.raises(openai.RateLimitError) as error:
        patient.completions.create(model=MODEL, prompt="a")
    assert error.value.code == "rate_limit_exceeded"
    engine.refusals = []


def test_f59_a_broken_stream_raises(client: openai.OpenAI, engine: BusyEngine) -> None:
    engine.fail_with, engine.fail_after = EngineFault("broken"), 2
    try:
        with pytest.raises(openai.APIError, match="broken"):
            for _ in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
                pass
    finally:
        engine.fail_with = None


def test_f62_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["org/name", MODEL]
    assert client.models.retrieve("org/name").id == "org/name"


def test_bad_requests_name_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=2.5)
    assert (error.value.param, error.value.code) == ("temperature", "decimal_above_max_value")
