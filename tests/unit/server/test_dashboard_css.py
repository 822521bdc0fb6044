"""Colours of the screens: every text token is readable on every surface and tint it may stand on, light and dark."""

import re

import pytest

from tillbridge_server.dashboard.render import STATIC

STATES = ("ok", "late", "stop", "held", "idle")
SURFACES = ("bg", "surface", "sunken")
SHEETS = sorted(path for path in STATIC.glob("*.css"))


def tokens(scheme: str) -> dict[str, str]:
    """The colour tokens of a scheme, dark ones laid over the light ones."""
    text = (STATIC / "tokens.css").read_text(encoding="utf-8")
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})\b", light))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})\b", dark.split("@media print")[0]))
    return found


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio from 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


PAIRS = [
    *[(ink, ground, 4.5) for ink in ("ink", "ink-2", "ink-3") for ground in SURFACES],
    *[(f"{state}-ink", ground, 4.5) for state in STATES for ground in (*SURFACES, f"{state}-tint")],
    *[(f"{state}-mark", ground, 3.0) for state in STATES for ground in ("surface", "bg", f"{state}-tint")],
    *[("ink", f"{state}-tint", 4.5) for state in STATES],
    ("surface", "ink", 4.5), ("surface", "ink-2", 4.5),  # the filled button, also under the pointer
    *[("edge", ground, 3.0) for ground in SURFACES], *[("focus", ground, 3.0) for ground in SURFACES],
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_from_what_they_stand_on(scheme: str) -> None:
    """4.5 for text, 3 for marks, borders and the focus."""
    found = tokens(scheme)
    poor = [
        f"{one} on {other}: {contrast(found[one], found[other]):.2f} < {least}"
        for one, other, least in PAIRS if contrast(found[one], found[other]) < least
    ]
    assert poor == []


def test_a_contrast_known_from_the_standard() -> None:
    """The measure itself is right."""
    assert round(contrast("#000000", "#ffffff"), 1) == 21.0
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48


@pytest.mark.parametrize("sheet", [sheet for sheet in SHEETS if sheet.name != "tokens.css"], ids=lambda s: s.name)
def test_no_colour_is_written_outside_the_tokens(sheet: object) -> None:
    """So that dark, print and forced colours hold everywhere."""
    text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)  # type: ignore[attr-defined]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsl", text) == []


def test_every_token_that_is_used_is_there() -> None:
    """A misspelt token would be no colour at all."""
    everything = "".join(sheet.read_text(encoding="utf-8") for sheet in SHEETS)
    used = set(re.findall(r"var\(--([\w-]+)", everything))
    assert used - set(re.findall(r"--([\w-]+)\s*:", everything)) == set()
