"""pydantic-ai, with the dialect named in the first argument."""

import sys
from importlib.metadata import version

from pydantic import BaseModel
from pydantic_ai import Agent
from task import HELLO, MODEL, PERSON, QUESTION, URL, report


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def make_model() -> object:
    if sys.argv[1] == "openai":
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=f"{URL}/v1", api_key="none")
        return OpenAIChatModel(MODEL, provider=provider)
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    return GoogleModel(MODEL, provider=GoogleProvider(api_key="none", base_url=URL))


calls = []


def get_weather(city: str) -> str:
    """Get the current weather in a given city."""
    calls.append(city)
    return '{"temperature": 18, "sky": "sunny"}'


model, settings = make_model(), {"temperature": 0}
agent = Agent(model, model_settings=settings)
with_tool = Agent(model, model_settings=settings, tools=[get_weather])
structured = Agent(model, model_settings=settings, output_type=Person)


streamed = agent.run_stream_sync(HELLO)
report(
    version=version("pydantic-ai-slim"),
    plain=agent.run_sync(HELLO).output,
    streamed="".join(streamed.stream_text(delta=True)),
    after_call=with_tool.run_sync(QUESTION).output,
    call={"city": calls[0]},
    person=structured.run_sync(PERSON).output.model_dump(),
)
