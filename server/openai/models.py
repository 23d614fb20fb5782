"""`GET /v1/models`: one answer for the clients of both dialects."""

from __future__ import annotations

from engine import ModelNotFound
from server.model_list import gemini_model, openai_model, union_model
from server.state import AppState


def list_models(state: AppState) -> dict[str, object]:
    """Every name the model answers to, in both dialects' lists.

    Raises:
        EngineUnavailable: the engine was never ready.
    """
    card = state.engine.model
    names = state.settings.all_names
    return {
        "object": "list",
        "data": [openai_model(card, name) for name in names],
        "models": [gemini_model(card, name) for name in names],
    }


def get_model(state: AppState, name: str) -> dict[str, object]:
    """One name. Gemini clients put `models/` in front of it.

    Raises:
        ModelNotFound: no such name.
        EngineUnavailable: the engine was never ready.
    """
    known = state.settings.all_names
    if name not in known and name.removeprefix("models/") not in known:
        raise ModelNotFound(name)
    return union_model(state.engine.model, name if name in known else name.removeprefix("models/"))
