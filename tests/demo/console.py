"""What the demo says on the terminal: short lines for a person on stdout, so that they read in order."""

import sys
from collections.abc import Iterable

from tests.demo.children import Child


def say(words: str = "") -> None:
    """One line, at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def addresses(rows: Iterable[tuple[str, str]]) -> None:
    """Names and addresses in two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    say()
    for name, address in rows:
        say(f"  {name:<{width}}  {address}")
    say()


def trouble(words: str, child: Child | None = None) -> None:
    """What went wrong, in words; with a child the last lines of its log."""
    say(f"demo: {words}")
    if child is not None:
        say(f"demo: the last lines of {child.log}:")
        for line in child.last_lines():
            say(f"    {line}")
