"""A real server as plain HTTP shows it: bodies, statuses, headers and the bytes of streams."""

from __future__ import annotations

import json
from typing import Any

import httpx

MODEL = "diglot-mini"
STORY = "Once upon a time, there was a little dog"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


class Api:
    """Calls one server. What is not said otherwise is greedy and short."""

    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=120, headers=headers)
        self.url = url

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)

    # The OpenAI dialect

    def complete(self, prompt: Any = STORY, **body: Any) -> dict[str, Any]:
        answer = self.post(COMPLETIONS, {"model": MODEL, "prompt": prompt, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def text(self, prompt: Any = STORY, **body: Any) -> str:
        return self.complete(prompt, **body)["choices"][0]["text"]

    def chat(self, content: Any = "Hello!", **body: Any) -> dict[str, Any]:
        answer = self.post(CHAT, chat_body(content, **body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def say(self, content: Any = "Hello!", **body: Any) -> str:
        return self.chat(content, **{"temperature": 0, **body})["choices"][0]["message"]["content"]

    def error(self, path: str, body: Any) -> dict[str, Any]:
        """The error that a bad OpenAI request gets."""
        answer = self.post(path, body)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        return answer.json()["error"]

    def chunks(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks of an OpenAI stream, read as strictly as the strictest client."""
        *blocks, done, rest = self.raw(path, {**body, "stream": True}).decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        blocks = [block for block in blocks if block != ": ping"]
        assert all(block.startswith("data: {") and "\n" not in block for block in blocks)
        return [json.loads(block[len("data: ") :]) for block in blocks]

    def complete_chunks(self, prompt: Any = STORY, **body: Any) -> list[dict[str, Any]]:
        return self.chunks(COMPLETIONS, {"model": MODEL, "prompt": prompt, **body})

    def chat_chunks(self, content: Any = "Hello!", **body: Any) -> list[dict[str, Any]]:
        return self.chunks(CHAT, chat_body(content, **body))

    def stream(self, prompt: Any = STORY, **body: Any) -> list[str]:
        """Text deltas of a streamed completion."""
        chunks = self.complete_chunks(prompt, **body)
        return [choice["text"] for chunk in chunks for choice in chunk["choices"]]

    def raw(self, path: str, body: Any) -> bytes:
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.content

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        body = {"prompt": text, "add_special_tokens": False}
        return self.post("/tokenize", body).json()["tokens"]

    # The Gemini dialect

    def generate(self, body: dict[str, Any], model: str = MODEL) -> dict[str, Any]:
        answer = self.post(f"/v1beta/models/{model}:generateContent", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks of an event stream, read as strictly as the strictest client."""
        data = self.raw(f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", body)
        assert data.endswith(b"\r\n\r\n")
        lines = data.decode().splitlines()
        assert all(line == "" or line.startswith("data: {") for line in lines)
        return [json.loads(line.removeprefix("data: ")) for line in lines if line]

    def problem(self, body: Any, verb: str = "generateContent") -> dict[str, Any]:
        """The error that a bad Gemini request gets."""
        answer = self.post(f"/v1beta/models/{MODEL}:{verb}", body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT") and error["message"]
        return error


def chat_body(content: Any = "Hello!", **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": MODEL, "messages": messages, **body}


def ask(text: str = "Hello!", **config: Any) -> dict[str, Any]:
    """A Gemini request; `config` becomes its generationConfig."""
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return body | ({"generationConfig": config} if config else {})


def text_of(answer: dict[str, Any], candidate: int = 0) -> str:
    """The text of a Gemini answer or chunk."""
    parts = answer["candidates"][candidate]["content"]["parts"]
    return "".join(part.get("text", "") for part in parts)


def deltas(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    """The deltas of one chat choice."""
    choices = (choice for chunk in chunks for choice in chunk["choices"])
    return [choice["delta"] for choice in choices if choice["index"] == index]
