"""What the tests know of README.md: its examples, and the table that is made from the settings.

`python -m tests.readme` writes the table anew. Knows nothing of whether the examples work.
"""

from __future__ import annotations

import re
from pathlib import Path

from server.settings import ServerSettings

README = Path(__file__).parent.parent / "README.md"
_SETTINGS = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text() -> str:
    """The whole page."""
    return README.read_text(encoding="utf-8")


def section(title: str) -> str:
    """The part under `## title`, up to the next heading of that level."""
    return text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def examples(language: str) -> list[str]:
    """The fenced blocks of one language under "Use it", in order."""
    return [code for name, code in _BLOCK.findall(section("Use it")) if name == language]


def written_settings() -> str:
    """The table of settings as it stands on the page."""
    found = _SETTINGS.search(text())
    assert found, "README.md has lost the marks around its table of settings"
    return found.group()


def settings_table() -> str:
    """The table of settings as it should be."""
    lines = ["| flag | variable | default | meaning |", "|---|---|---|---|"]
    for name, field in ServerSettings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        default = "" if field.default_factory else _shown(name, field.default)
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{flag}` | `DIGLOT_{name.upper()}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _shown(name: str, default: object) -> str:
    if default is None or name == "model":  # a path of this machine
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def refresh() -> None:
    """Write the table of settings anew."""
    README.write_text(_SETTINGS.sub(lambda _: settings_table(), text()), encoding="utf-8")


if __name__ == "__main__":
    refresh()
