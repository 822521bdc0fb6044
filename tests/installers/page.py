"""What installer/README.md tells an admin to type and to write, taken from the page itself."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "installer/README.md"
_FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def block(language: str, holding: str) -> str:
    """The one fenced block of a language that holds this text."""
    blocks = _FENCE.findall(PAGE.read_text(encoding="utf-8"))
    found = [text for kind, text in blocks if kind == language and holding in text]
    assert len(found) == 1, f"installer/README.md has {len(found)} {language} blocks with {holding!r}, not one"
    return str(found[0])
