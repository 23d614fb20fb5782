"""`thinkingConfig` to what chat templates know of reasoning. Never an error: clients send it to
every model, in every form."""

from __future__ import annotations

from server.gemini.schema import ThinkingConfig

_LEVELS = ("", "minimal", "low", "medium", "high", "xhigh")


def template_args(config: ThinkingConfig) -> dict[str, object]:
    """The switch and the word that templates look for; nothing when the caller says nothing."""
    if config.thinking_budget == 0:
        return {"enable_thinking": False}
    level = _level(config.thinking_level)
    return {"enable_thinking": True, "reasoning_effort": level} if level else {}


def _level(value: object) -> str:
    if isinstance(value, str):
        word = value.lower()
        return word if word in _LEVELS else ""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_LEVELS):
        return _LEVELS[value]
    return ""
