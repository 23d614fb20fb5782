"""LiteLLM, with the provider named in the first argument."""

import sys
from importlib.metadata import version

import litellm
from task import CITY, DESCRIPTION, HELLO, MODEL, PERSON, QUESTION, URL, report

openai = sys.argv[1] == "openai"
# A name that LiteLLM knows is sent in Gemini's own fields; the server takes every such name.
model = f"openai/{MODEL}" if openai else "gemini/gemini-2.5-flash"
base = f"{URL}/v1" if openai else f"{URL}/v1beta"


def ask(content: str, **fields: object) -> object:
    messages = [{"role": "user", "content": content}]
    return litellm.completion(
        model=model, api_base=base, api_key="none", messages=messages, temperature=0, **fields
    )


tool = {
    "type": "function",
    "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": CITY},
}
schema = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
report(
    version=version("litellm"),
    plain=ask(HELLO).choices[0].message.content,
    streamed="".join(chunk.choices[0].delta.content or "" for chunk in ask(HELLO, stream=True)),
    call=ask(QUESTION, tools=[tool]).choices[0].message.tool_calls[0].function.arguments,
    person=ask(PERSON, response_format=form).choices[0].message.content,
)
