"""What every Python client is asked, and how it tells what it got."""

import json
import os
import sys

URL = os.environ["DIGLOT_URL"]
MODEL = os.environ["DIGLOT_MODEL"]
HELLO = "Hello!"
QUESTION = "What is the weather in Paris?"
PERSON = "Extract name and age: Anna is 31 years old."
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "The city"}},
    "required": ["city"],
}
DESCRIPTION = "Get the current weather in a given city."


def report(**found: object) -> None:
    """The last line of the program: one JSON object."""
    sys.stdout.write(json.dumps(found) + "\n")
