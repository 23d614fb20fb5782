"""The model families that the decoder can be, by the `model_type` of their config.json."""

from __future__ import annotations

from types import MappingProxyType

from engine.models.families import gemma, gpt_oss, llama, mistral, qwen2, qwen3, qwen3_moe

FAMILIES = MappingProxyType(
    {
        "gemma2": gemma.GEMMA2,
        "gemma3_text": gemma.GEMMA3,
        "gpt_oss": gpt_oss.FAMILY,
        "llama": llama.FAMILY,
        "mistral": mistral.FAMILY,
        "qwen2": qwen2.FAMILY,
        "qwen3": qwen3.FAMILY,
        "qwen3_moe": qwen3_moe.FAMILY,
    }
)
