"""The numbers of the training run: shape, data, mixture, phases, rates.

Knows only constants. A run is described by one `Recipe`; nothing else in this folder holds a
tuning number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.default_model.training.model import Shape

# Conversations drawn from each generator.
SYNTHETIC: dict[str, int] = {
    "tools": 24_000,
    "json_answers": 16_000,
    "manners": 20_000,
    "choices": 10_000,
    "terms": 10_000,
    "german": 14_000,
}

# Shares of the rows of the first phase, per source; they need not add up to one.
PRETRAIN_MIX: dict[str, float] = {
    "gutenberg_children": 0.22,
    "tinystories": 0.17,
    "stories": 0.12,
    "synth": 0.08,
    "persona_chat": 0.04,
    "self_dialogue": 0.03,
    "fairytaleqa_stories": 0.025,
    "topical_chat": 0.02,
    "definitions": 0.02,
    "countries": 0.015,
    "pratham_books": 0.015,
    "fairytaleqa": 0.015,
    "african_storybook": 0.01,
    "chatterbot": 0.01,
    "jokes": 0.003,
}
# The same for conversations written by rules, which join later.
SYNTHETIC_MIX: dict[str, float] = {
    "tools": 0.11,
    "json_answers": 0.06,
    "manners": 0.05,
    "german": 0.04,
    "terms": 0.025,
    "choices": 0.01,
}

# Shares of the conversations of the second phase (counted in conversations, not tokens).
CHAT_MIX: dict[str, float] = {
    "synth": 0.25,
    "tools": 0.20,
    "manners": 0.14,
    "json_answers": 0.10,
    "stories": 0.08,
    "german": 0.07,
    "choices": 0.06,
    "terms": 0.05,
    "countries": 0.05,
    "definitions": 0.02,
    "chatterbot": 0.02,
    "persona_chat": 0.02,
    "jokes": 0.01,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a run goes, apart from its time budget."""

    shape: Shape = field(default_factory=Shape)
    synthetic: dict[str, int] = field(default_factory=lambda: dict(SYNTHETIC))
    pretrain_mix: dict[str, float] = field(default_factory=lambda: dict(PRETRAIN_MIX))
    synthetic_mix: dict[str, float] = field(default_factory=lambda: dict(SYNTHETIC_MIX))
    chat_mix: dict[str, float] = field(default_factory=lambda: dict(CHAT_MIX))
    seed: int = 1
    tokens_per_step: int = 4096
    synthetic_from: float = 0.25
    """Progress (0 to 1) at which the conversations written by rules join the first phase."""
    row_lengths: tuple[int, ...] = (256, 512)
    """Row length of the first and the later part of the first phase."""
    long_rows_from: float = 0.55
    chat_from: float = 0.78
    """Progress (0 to 1) at which the second phase, loss on answers only, begins."""
    rehearsal: float = 0.25
    """Share of the second phase's batches that go on reading the corpus, lest it be forgotten."""
    chat_lengths: tuple[int, ...] = (64, 128, 256, 512)
    muon_rate: float = 4e-3
    adam_rate: float = 6e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    warm_up: float = 0.02
    decay_from: float = 0.35
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
    synthetic=dict.fromkeys(SYNTHETIC, 50),
    tokens_per_step=512,
    row_lengths=(32, 64),
    chat_lengths=(32, 64),
)
