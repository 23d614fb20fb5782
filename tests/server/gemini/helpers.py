"""What tests of the Gemini dialect say again and again."""

from __future__ import annotations

import json
from typing import Any

from server.settings import ServerSettings

MODEL = "/v1beta/models/diglot-mini"
GENERATE = f"{MODEL}:generateContent"
STREAM = f"{MODEL}:streamGenerateContent"
SSE = f"{STREAM}?alt=sse"
COUNT = f"{MODEL}:countTokens"


def settings(**values: object) -> ServerSettings:
    """Settings with everything else at its default."""
    return ServerSettings(**values)  # type: ignore[arg-type]


def user(*texts: str) -> dict[str, Any]:
    """A user turn."""
    return {"role": "user", "parts": [{"text": text} for text in texts]}


def ask(text: str = "hi", **config: Any) -> dict[str, Any]:
    """A request with one user turn; `config` becomes its generationConfig."""
    return {"contents": [user(text)]} | ({"generationConfig": config} if config else {})


def events(body: bytes) -> list[dict[str, Any]]:
    """The chunks of an event stream, read as strictly as the strictest client."""
    assert body.endswith(b"\r\n\r\n")
    lines = body.decode().splitlines()  # breaks at U+2028 and its kin, as Python clients do
    assert all(line == "" or line.startswith("data: {") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def text_of(chunk: dict[str, Any], index: int = 0) -> str:
    """The text of one candidate of a response or chunk."""
    return chunk["candidates"][index]["content"]["parts"][0]["text"]


def prompt_text(ids: tuple[int, ...]) -> str:
    """A scripted engine's prompt, its special tokens as one sign each."""
    signs = {256: "", 258: "<", 259: ">"}
    return "".join(signs.get(token_id) or chr(token_id) for token_id in ids if token_id != 256)
