"""The numbers of the training run: shapes, mixture, phases, rates.

Knows only constants. A run is described by one `Recipe`; nothing else in this folder holds a
tuning number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.default_model.training.model import Shape

# Shares of the rows of the first phase, per source; they need not add up to one.
PRETRAIN_MIX: dict[str, float] = {
    "tinystories": 0.30,
    "stories": 0.17,
    "synth": 0.17,
    "persona_chat": 0.09,
    "self_dialogue": 0.08,
    "gutenberg_children": 0.04,
    "definitions": 0.03,
    "countries": 0.03,
    "african_storybook": 0.015,
    "pratham_books": 0.015,
    "fairytaleqa": 0.015,
    "chatterbot": 0.02,
    "topical_chat": 0.01,
    "fairytaleqa_stories": 0.01,
    "jokes": 0.005,
}

# Shares of the conversations of the second phase (counted in conversations, not tokens).
CHAT_MIX: dict[str, float] = {
    "synth": 0.52,
    "stories": 0.16,
    "countries": 0.10,
    "definitions": 0.07,
    "chatterbot": 0.06,
    "persona_chat": 0.05,
    "jokes": 0.02,
    "fairytaleqa": 0.02,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a run goes, apart from its time budget."""

    shape: Shape = field(default_factory=Shape)
    pretrain_mix: dict[str, float] = field(default_factory=lambda: dict(PRETRAIN_MIX))
    chat_mix: dict[str, float] = field(default_factory=lambda: dict(CHAT_MIX))
    seed: int = 1
    tokens_per_step: int = 4096
    row_lengths: tuple[int, ...] = (256, 512)
    """Row length of the first and the later part of the first phase."""
    long_rows_from: float = 0.55
    chat_from: float = 0.78
    """Progress (0 to 1) at which the second phase, loss on answers only, begins."""
    chat_lengths: tuple[int, ...] = (64, 128, 256, 512)
    muon_rate: float = 3e-3
    adam_rate: float = 3e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    warm_up: float = 0.02
    decay_from: float = 0.3
    final_rate: float = 0.02
    """Factor on both rates at the end of the run."""


SMOKE = Recipe(
    shape=Shape(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=256,
    ),
    tokens_per_step=512,
    row_lengths=(32, 64),
    chat_lengths=(32, 64),
)
