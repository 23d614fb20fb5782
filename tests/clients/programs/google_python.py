"""google-genai for Python: a turn, a streamed turn, a function called by itself, an object."""

from google import genai
from pydantic import BaseModel
from task import HELLO, MODEL, PERSON, QUESTION, URL, report


class Person(BaseModel):
    name: str
    age: int


calls = []


def get_weather(city: str) -> dict:
    """Get the current weather in a given city."""
    calls.append(city)
    return {"temperature": 18, "sky": "sunny"}


client = genai.Client(api_key="none", http_options={"base_url": URL})
models = client.models
greedy = {"temperature": 0}
stream = models.generate_content_stream(model=MODEL, contents=HELLO, config=greedy)
answer = models.generate_content(
    model=MODEL, contents=QUESTION, config={**greedy, "tools": [get_weather]}
)
parsed = models.generate_content(
    model=MODEL,
    contents=PERSON,
    config={**greedy, "response_mime_type": "application/json", "response_schema": Person},
)
report(
    version=genai.__version__,
    plain=models.generate_content(model=MODEL, contents=HELLO, config=greedy).text,
    streamed="".join(chunk.text or "" for chunk in stream),
    call={"city": calls[0]},
    after_call=answer.text,
    person=parsed.parsed.model_dump(),
)
