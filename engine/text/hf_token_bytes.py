"""The exact bytes of Hugging Face tokens, as far as the decoder of `tokenizer.json` tells.

Knows the two families that decoder-only models use: byte-level BPE, which spells every byte as a
printable character, and sentencepiece's way, with U+2581 for a space and `<0xNN>` for a byte.
Does not know how to encode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import ModelLoadError

_METASPACE = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def spelling(decoder: Mapping[str, Any] | None) -> tuple[Callable[[str], bytes], bool]:
    """How a vocabulary spells bytes, and whether decoding drops one leading space.

    `decoder` is that part of `tokenizer.json`. Raises `ModelLoadError` for any other family.
    """
    steps = _steps(decoder)
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return byte_level_bytes, False
    replaces = any(
        step.get("type") == "Replace" and step.get("pattern") == {"String": _METASPACE}
        for step in steps
    )
    if replaces or "Metaspace" in kinds:
        return metaspace_bytes, any(map(_drops_leading_space, steps))
    raise ModelLoadError(
        f"tokenizer.json has a decoder of the kind {sorted(map(str, kinds))}; "
        "only byte-level and sentencepiece-like ones are supported."
    )


def byte_level_bytes(token: str) -> bytes:
    """Bytes of a token in GPT-2's byte alphabet; any other character stands for itself."""
    try:
        return bytes([_BYTE_OF_CHARACTER[character] for character in token])
    except KeyError:
        return token.encode()


def metaspace_bytes(token: str) -> bytes:
    """Bytes of a token in sentencepiece's spelling."""
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes.fromhex(match[1])
    return token.replace(_METASPACE, " ").encode()


def _steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    if decoder.get("type") == "Sequence":
        return list(decoder.get("decoders", ()))
    return [decoder]


def _drops_leading_space(step: Mapping[str, Any]) -> bool:
    if step.get("type") == "Metaspace":
        default = "always" if step.get("add_prefix_space", True) else "never"
        return step.get("prepend_scheme", default) != "never"
    return step.get("type") == "Strip" and step.get("content") == " " and step.get("start", 0) > 0


def _byte_of_character() -> dict[str, int]:
    """GPT-2's table: printable Latin-1 bytes are themselves, the others follow from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    return table | {chr(0x100 + i): byte for i, byte in enumerate(shifted)}


_BYTE_OF_CHARACTER = _byte_of_character()
