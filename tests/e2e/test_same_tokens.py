"""The same prompt and controls through every endpoint give the same tokens."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

MODEL = "diglot-mini"
MESSAGES = [
    {"role": "system", "content": "You are a friendly helper."},
    {"role": "user", "content": "Tell me a short story about a dog."},
]
CONTROLS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0, "frequency_penalty": 0.7, "presence_penalty": 0.4},
    {"temperature": 1.0, "seed": 1},
    {"temperature": 1.4, "seed": -5, "top_p": 0.8, "top_k": 30, "min_p": 0.02},
    {
        "temperature": 0.9,
        "seed": 99,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.3,
        "repetition_penalty": 1.1,
        "logit_bias": {"300": 3, "301": -50},
        "stop": ["\n\n", "The end"],
    },
]
TOKENS = 40


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


class Endpoints:
    """Each endpoint's answer as the ids of its tokens."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        asked = {"messages": MESSAGES}
        self._prompt = self._post("/tokenize", asked)["tokens"]

    def close(self) -> None:
        self._http.close()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def completions(self, controls: dict[str, Any]) -> list[int]:
        body = {"model": MODEL, "prompt": self._prompt, "max_tokens": TOKENS, **controls}
        choice = self._post("/v1/completions", {**body, "return_token_ids": True})["choices"][0]
        return choice["token_ids"]

    def chat(self, controls: dict[str, Any]) -> list[int]:
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": TOKENS, **controls}
        body |= {"return_token_ids": True}
        return self._post("/v1/chat/completions", body)["choices"][0]["token_ids"]

    def responses(self, controls: dict[str, Any]) -> bytes:
        """Responses name no ids: the bytes of the tokens, one after another."""
        system, user = (message["content"] for message in MESSAGES)
        body = {"model": MODEL, "instructions": system, "input": user, **controls}
        body |= {"max_output_tokens": TOKENS, "include": ["message.output_text.logprobs"]}
        part = self._post("/v1/responses", body)["output"][0]["content"][0]
        return b"|".join(bytes(entry["bytes"]) for entry in part["logprobs"])

    def gemini(self, controls: dict[str, Any]) -> list[int]:
        system, user = (message["content"] for message in MESSAGES)
        config = {camel(name): value for name, value in controls.items() if name != "stop"}
        config |= {"stopSequences": controls.get("stop", []), "maxOutputTokens": TOKENS}
        body = {
            "contents": [{"role": "user", "parts": [{"text": user}]}],
            "systemInstruction": {"parts": [{"text": system}]},
            "generationConfig": {**config, "responseLogprobs": True},
        }
        answer = self._post(f"/v1beta/models/{MODEL}:generateContent", body)
        chosen = answer["candidates"][0]["logprobsResult"]["chosenCandidates"]
        return [entry["tokenId"] for entry in chosen]

    def token_bytes(self, ids: list[int]) -> bytes:
        texts = [self._post("/detokenize", {"tokens": [token]})["prompt"] for token in ids]
        return b"|".join(text.encode() for text in texts)


@pytest.fixture(scope="module")
def endpoints(live_server: str) -> Any:
    found = Endpoints(live_server)
    yield found
    found.close()


@pytest.mark.parametrize("controls", CONTROLS, ids=range(len(CONTROLS)))
def test_all_four_give_the_same_tokens(endpoints: Endpoints, controls: dict[str, Any]) -> None:
    completed, chatted = endpoints.completions(controls), endpoints.chat(controls)
    assert completed == chatted and len(chatted) > 5
    spoken = endpoints.gemini(controls)  # an end-of-sequence token is not reported there
    assert spoken == chatted[: len(spoken)] and len(chatted) - len(spoken) <= 1
    assert endpoints.responses(controls) == endpoints.token_bytes(spoken)
