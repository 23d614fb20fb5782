"""LangChain, with the model class of the dialect named in the first argument."""

import sys
from importlib.metadata import version

from pydantic import BaseModel
from task import HELLO, MODEL, PERSON, QUESTION, URL, report


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """Get the current weather in a given city."""
    return "sunny"


if sys.argv[1] == "openai":
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=f"{URL}/v1", api_key="none", model=MODEL, temperature=0)
else:
    from langchain_google_genai import ChatGoogleGenerativeAI

    chat = ChatGoogleGenerativeAI(model=MODEL, base_url=URL, api_key="none", temperature=0)

called = chat.bind_tools([get_weather]).invoke(QUESTION)
forced = chat.bind_tools([get_weather], tool_choice="any").invoke(HELLO)
report(
    version=version(f"langchain-{'openai' if sys.argv[1] == 'openai' else 'google-genai'}"),
    plain=chat.invoke(HELLO).text,
    streamed="".join(chunk.text for chunk in chat.stream(HELLO)),
    call=called.tool_calls[0]["args"],
    forced=forced.tool_calls[0]["name"],
    person=chat.with_structured_output(Person).invoke(PERSON).model_dump(),
)
