"""Reads the unpacked corpus: stories and conversations by source, split into train and held out.

Knows the folder layout (`pretrain/*.txt` split by a separator line, `chat/*.jsonl` with one
conversation a line) and how to clean a document. Does not know tokens, batches or the network.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from engine.default_model.training.chat import plain_text
from engine.default_model.training.conversation import Conversation, Document, Message

SEPARATOR = "<|endoftext|>"
HELD_OUT_PER_MILLE = 12
# Transcripts whose lines take turns; they are read as conversations.
DIALOGUES = ("self_dialogue", "topical_chat")
# The chat folder has a set of the same name.
RENAMED = {"fairytaleqa": "fairytaleqa_stories"}
WITH_PLACEHOLDERS = ("persona_chat",)
# Names the makers of such a set left unfilled, such as "[User 2's name]".
PLACEHOLDER = re.compile(r"\[|\buser ?\d", re.IGNORECASE)
# A network this small remembers few facts: those about the countries most asked for are repeated.
FAMILIAR_TIMES = 10
FAMILIAR = re.compile(
    r"\b(Argentina|Australia|Austria|Belgium|Brazil|Canada|Chile|China|Cuba|Denmark|Egypt|England"
    r"|Finland|France|Germany|Greece|Hungary|India|Ireland|Italy|Japan|Kenya|Mexico|Netherlands"
    r"|New Zealand|Norway|Peru|Poland|Portugal|Russia|South Africa|Spain|Sweden|Switzerland"
    r"|Turkey|Ukraine|United Kingdom|United States)\b"
)


@dataclass(frozen=True)
class Source:
    """The documents of one source; each is a text or a conversation."""

    name: str
    train: list[Document]
    held_out: list[Document]


def is_held_out(key: str) -> bool:
    """Whether a document with this key is kept for evaluation; depends on nothing else."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 1000 < HELD_OUT_PER_MILLE


def dialogue(text: str) -> Conversation:
    """A transcript of "- ..." lines as alternating user and assistant messages."""
    lines = [line[2:].strip() for line in text.splitlines() if line.startswith("- ")]
    roles = ("user", "assistant")
    spoken = filter(None, lines)
    messages = [{"role": roles[i % 2], "content": line} for i, line in enumerate(spoken)]
    return Conversation(messages[: len(messages) // 2 * 2])


def read_texts(path: Path) -> list[Document]:
    """Documents of one text file, cleaned; transcripts come back as conversations."""
    documents: list[Document] = []
    for part in path.read_text(encoding="utf-8").split(SEPARATOR):
        text = part.strip().strip("#").strip()
        if not text:
            continue
        documents.append(dialogue(text) if path.stem in DIALOGUES else text)
    return [d for d in documents if isinstance(d, str) or d.messages]


def read_chats(path: Path) -> list[Document]:
    """Conversations of one JSON-lines file, stripped, without those holding placeholders."""
    conversations: list[Document] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        messages: list[Message] = json.loads(line)["messages"]
        messages = [{"role": m["role"], "content": m["content"].strip()} for m in messages]
        unfilled = any(PLACEHOLDER.search(message["content"]) for message in messages)
        if path.stem not in WITH_PLACEHOLDERS or not unfilled:
            conversations.append(Conversation(messages))
    return conversations


def document_key(name: str, document: Document) -> str:
    """What the held-out choice hashes: a story has one key however it is asked for."""
    if isinstance(document, str):
        return document
    if name == "stories":
        return document.messages[-1]["content"]
    return json.dumps(document.messages, sort_keys=True)


def split(name: str, documents: list[Document]) -> Source:
    """Divides documents into those trained on and those held out."""
    train: list[Document] = []
    held_out: list[Document] = []
    for document in documents:
        (held_out if is_held_out(document_key(name, document)) else train).append(document)
    return Source(name, train, held_out)


def repeat_familiar(conversations: list[Document]) -> None:
    """Adds further copies of the conversations about familiar countries, in place."""
    familiar = [c for c in conversations if FAMILIAR.search(plain_text(c))]
    conversations += familiar * (FAMILIAR_TIMES - 1)


def read_corpus(folder: Path) -> dict[str, Source]:
    """All sources under `folder`, by name. Raises FileNotFoundError if there are none."""
    sources: dict[str, Source] = {}
    for path in sorted(folder.glob("pretrain/*.txt")):
        name = RENAMED.get(path.stem, path.stem)
        sources[name] = split(name, read_texts(path))
    for path in sorted(folder.glob("chat/*.jsonl")):
        sources[path.stem] = split(path.stem, read_chats(path))
    if "countries" in sources:
        repeat_familiar(sources["countries"].train)
    if not sources:
        raise FileNotFoundError(f"no pretrain/*.txt or chat/*.jsonl under {folder}")
    return sources
