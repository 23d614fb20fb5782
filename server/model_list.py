"""How a served model introduces itself, in both dialects at once.

`GET /v1/models` is a path of both; one object with the keys of both serves all clients, as each
drops what it does not know.
"""

from __future__ import annotations

from engine import ModelCard


def openai_model(card: ModelCard, name: str) -> dict[str, object]:
    """The model as OpenAI lists it."""
    return {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": "diglot",
        "max_model_len": card.max_model_len,
        "root": card.id,
        "parent": None,
    }


def gemini_model(card: ModelCard, name: str) -> dict[str, object]:
    """The model as Gemini lists it. `topK` is omitted: it is off by default."""
    thinking: dict[str, object] = {"thinking": True} if card.reasons else {}
    return thinking | {
        "name": f"models/{name}",
        "baseModelId": card.id,
        "version": "001",
        "displayName": name,
        "description": f"{card.id}, served by diglot.",
        "inputTokenLimit": card.max_model_len,
        "outputTokenLimit": card.max_model_len,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        "temperature": 1.0,
        "maxTemperature": 2.0,
        "topP": 1.0,
    }


def union_model(card: ModelCard, name: str) -> dict[str, object]:
    """Both at once."""
    return openai_model(card, name) | gemini_model(card, name)
