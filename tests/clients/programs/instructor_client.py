"""instructor: objects by a named tool, by a JSON schema, and in pieces."""

from importlib.metadata import version

import instructor
import openai
from pydantic import BaseModel
from task import MODEL, PERSON, URL, report


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def ask(mode: instructor.Mode, **fields: object) -> object:
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none")
    patched = instructor.from_openai(client, mode=mode)
    messages = [{"role": "user", "content": PERSON}]
    return patched.chat.completions.create(model=MODEL, messages=messages, temperature=0, **fields)


pieces = list(ask(instructor.Mode.TOOLS, response_model=instructor.Partial[Person], stream=True))
report(
    version=version("instructor"),
    person=ask(instructor.Mode.TOOLS, response_model=Person).model_dump(),
    by_schema=ask(instructor.Mode.JSON_SCHEMA, response_model=Person).model_dump(),
    streamed=f"{len(pieces)} pieces, at last {pieces[-1].model_dump_json()}",
)
