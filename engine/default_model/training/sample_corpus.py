"""A tiny made-up corpus, so that the whole of training can be tried without the real one.

Knows the folder layout `corpus.py` reads. The text is good for nothing else.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

NAMES = ("Anna", "Ben", "Cleo", "Dan", "Ella", "Finn", "Grace", "Hugo")
THINGS = ("ball", "kite", "boat", "drum", "apple", "lamp", "book", "hat")
PLACES = ("park", "garden", "forest", "kitchen", "school", "river", "market", "farm")


def story(rng: random.Random) -> str:
    """Four simple sentences."""
    name, thing, place = rng.choice(NAMES), rng.choice(THINGS), rng.choice(PLACES)
    return (
        f"Once there was a child called {name}. {name} found a {thing} in the {place}. "
        f'"What a fine {thing}!" said {name}. Then {name} took the {thing} home, happily.'
    )


def conversation(rng: random.Random) -> str:
    """One line of a chat file."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    messages = [
        {"role": "user", "content": f"My name is {name} and I have {rng.randint(2, 99)} hats."},
        {"role": "assistant", "content": f"Hello {name}, would you like a {thing}?"},
    ]
    return json.dumps({"messages": messages})


def write_sample_corpus(folder: Path, seed: int = 1) -> None:
    """Writes a corpus of two sources under `folder`."""
    rng = random.Random(seed)
    (folder / "pretrain").mkdir(parents=True, exist_ok=True)
    (folder / "chat").mkdir(exist_ok=True)
    stories = "\n<|endoftext|>\n".join(story(rng) for _ in range(400))
    (folder / "pretrain" / "tinystories.txt").write_text(stories)
    chats = "\n".join(conversation(rng) for _ in range(400))
    (folder / "chat" / "synth.jsonl").write_text(chats + "\n")
