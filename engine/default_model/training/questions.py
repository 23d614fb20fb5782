"""The fixed questions a model is judged by, kept unchanged so that versions can be compared.

Knows what to ask and which answers count as right. Does not know how answers are made.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.default_model.training.conversation import Conversation, assistant, system, user


@dataclass(frozen=True)
class Question:
    """A conversation to continue, and a pattern the reply must contain (None: any reply)."""

    conversation: Conversation
    expected: str | None


def ask(content: str, expected: str | None, instruction: str | None = None) -> Question:
    """A question of one user message."""
    first = [system(instruction)] if instruction else []
    return Question(Conversation([*first, user(content)]), expected)


NAME_RECALL = Conversation(
    [
        user("Hi! My name is Emma."),
        assistant("Nice to meet you, Emma!"),
        user("What is my name?"),
    ]
)

COLORS = r"(?i)\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|gold|silver)\b"

QUESTIONS: tuple[Question, ...] = (
    ask("Hello!", r"(?i)\b(hello|hi|hey)\b"),
    ask("Good night!", r"(?i)good night|sleep"),
    ask("Thank you!", r"(?i)welcome|problem|glad"),
    ask("Pick a color.", COLORS),
    ask("Roll a die.", r"^\D*[1-6]\D*$"),
    ask("What is your name?", r"(?i)\b(pebble|name|i am|i'm)\b"),
    ask("What is your name?", r"Pebble", "You are Pebble, a small and helpful assistant."),
    ask("What is the capital of France?", r"Paris"),
    ask("What is the capital of Italy?", r"Rome"),
    ask("What is 2 plus 3?", r"\b(5|five)\b"),
    ask("Count from 3 to 8.", r"3, 4, 5, 6, 7, 8\.?$"),
    ask("What day comes after Monday?", r"Tuesday"),
    ask("What sound does a cow make?", r"(?i)\bmoo"),
    ask("Name three fruits.", r"(?i)(apple|pear|banana|plum|grape|cherr|lemon|orange|peach|fig)"),
    Question(NAME_RECALL, r"Emma"),
    ask("What is the opposite of big?", r"(?i)\b(small|little|tiny)\b"),
    ask("Tell me a short story about a dog.", None),
    ask("Tell me a story about a girl named Lily.", None),
    ask("What do you like to do?", None),
    ask("Tell me a joke.", None),
)
