"""The tokenizer's endpoints, against a scripted engine: a byte is a token."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import BOS
from tests.server.client import Client, Reply

CLIENT = Client()


def tokenize(**fields: Any) -> Reply:
    return CLIENT.post("/tokenize", fields)


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_text_to_ids_and_back(prefix: str) -> None:
    made = CLIENT.post(f"{prefix}/tokenize", {"prompt": "hé", "model": "diglot-mini"}).json
    ids = [BOS, *"hé".encode()]
    assert made == {"count": 4, "max_model_len": 512, "tokens": ids, "token_strs": None}
    text = CLIENT.post(f"{prefix}/detokenize", {"tokens": ids[1:]}).json
    assert text == {"prompt": "hé"}


def test_special_tokens_and_token_texts() -> None:
    made = tokenize(prompt="hé", add_special_tokens=False, return_token_strs=True).json
    assert made["token_strs"] == ["h", "bytes:\\xc3", "bytes:\\xa9"]


def test_a_conversation() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    asked = tokenize(messages=messages).json["tokens"]
    open_end = tokenize(messages=messages, add_generation_prompt=False).json["tokens"]
    assert asked[: len(open_end)] == open_end and len(asked) > len(open_end)
    chat = CLIENT.chat("Hi").json
    assert chat["usage"]["prompt_tokens"] == len(asked)


def test_what_the_tokenizer_is() -> None:
    info = CLIENT.get("/tokenizer_info").json
    assert {"bos_token", "eos_token", "pad_token", "chat_template"} <= set(info)
    assert info["eos_token"] == "<eos>"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 1}, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "other"}, "model"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [999]}, "tokens"),
    ],
)
def test_bad_requests_name_their_field(path: str, body: dict[str, Any], param: str) -> None:
    reply = CLIENT.post(path, body)
    assert reply.status in (400, 404)
    assert reply.error["param"] == param


def test_a_text_and_a_conversation_exclude_each_other() -> None:
    reply = tokenize(prompt="a", messages=[{"role": "user", "content": "Hi"}])
    assert reply.status == 400 and reply.error["param"] == "prompt"
