"""openai for Python: chat, Responses, a tool call and a parsed object."""

import openai
from pydantic import BaseModel
from task import CITY, DESCRIPTION, HELLO, MODEL, PERSON, QUESTION, URL, report


class Person(BaseModel):
    name: str
    age: int


client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none")
hello = [{"role": "user", "content": HELLO}]
chat = client.chat.completions
stream = chat.create(model=MODEL, messages=hello, temperature=0, stream=True)
called = chat.create(
    model=MODEL,
    messages=[{"role": "user", "content": QUESTION}],
    tools=[
        {
            "type": "function",
            "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": CITY},
        }
    ],
    temperature=0,
)
parsed = chat.parse(
    model=MODEL,
    messages=[{"role": "user", "content": PERSON}],
    response_format=Person,
    temperature=0,
)
report(
    version=openai.__version__,
    plain=chat.create(model=MODEL, messages=hello, temperature=0).choices[0].message.content,
    streamed="".join(chunk.choices[0].delta.content or "" for chunk in stream),
    responses=client.responses.create(model=MODEL, input=HELLO, temperature=0).output_text,
    call=called.choices[0].message.tool_calls[0].function.arguments,
    person=parsed.choices[0].message.parsed.model_dump(),
)
