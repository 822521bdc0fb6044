"""The pages hold the diagram and the tables of order states exactly as they are made from the table."""

import re

import pytest
from tests.unit.protocol import order_pages as made

from tillbridge_protocol.orders import STATES, STEPS


@pytest.mark.parametrize("page", made.PAGES)
def test_the_page_is_made_from_the_table(page: str) -> None:
    """Word for word, and each part once."""
    text = (made.ROOT / page).read_text(encoding="utf-8")
    parts = [make() for make in made.PAGES[page]]
    assert text.count("<!-- order states: made by ") == text.count("<!-- end -->") == len(parts)
    assert made.filled(text, parts) == text, f"{page} differs from STATES and STEPS: run `{made.COMMAND}`."


def test_every_step_is_an_arrow() -> None:
    """No step is lost between table and picture, and none is made up."""
    arrows = re.findall(r"^    (\w+) --> (\w+): (\w+) \((\w+)\)$", made.diagram(), re.MULTILINE)
    assert {(before, event, after, by) for before, after, event, by in arrows} == set(STEPS)
    assert len(arrows) == len(STEPS)
    assert {state for arrow in arrows for state in arrow[:2]} == set(STATES)


def test_marks_name_the_command() -> None:
    """Whoever edits between the marks by hand reads how it is made."""
    for page in made.PAGES:
        assert f"<!-- order states: made by {made.COMMAND} -->" in (made.ROOT / page).read_text(encoding="utf-8")


def test_another_text_is_replaced() -> None:
    """Between the marks only, part by part."""
    start, end = "<!-- order states: made by x -->\n", "<!-- end -->\n"
    text = f"a\n{start}old\nolder\n{end}b\n{start}{end}"
    assert made.filled(text, ["one", "two"]) == f"a\n{start}one\n{end}b\n{start}two\n{end}"
