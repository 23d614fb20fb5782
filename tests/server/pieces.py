"""Text cut into pieces, as streams bring it."""

from __future__ import annotations

from hypothesis import strategies as st


def pieces_of(text: str, data: st.DataObject) -> list[str]:
    """The text in up to seven pieces, some of them empty."""
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
