"""What is set aside: unreadable rows and cells stay visible until the till corrects them."""

import sqlite3
from pathlib import Path

import pytest

from tillbridge_agent.core.rows import Problem
from tillbridge_agent.store import setaside
from tillbridge_agent.store.database import open_database, transact

AT = "2026-03-14T09:26:53+00:00"


@pytest.fixture
def conn(tmp_path: Path) -> sqlite3.Connection:
    """An agent's database."""
    return open_database(tmp_path / "agent.db")


def problem(line: int, text: str, *, effect: str = "row", code: str = "number_marks", column: str = "VK") -> Problem:
    """Something in a row that was not believed."""
    said = f"“{text}” has two decimal marks."
    return Problem(line, column, text, effect, code, said, "Correct it.")  # type: ignore[arg-type]


def put(conn: sqlite3.Connection, *problems: Problem, cleared: tuple[Problem, ...] = (), whole: bool = False) -> None:
    """What a capture does with the problems of one file."""
    transact(conn, lambda c: setaside.quarantine_rows(
        c, feed="stock", file="S.CSV", sha256="ab", since=AT, problems=problems, cleared=cleared, whole=whole,
    ))


def listed(conn: sqlite3.Connection) -> dict[str, int]:
    """Text to count of what is in quarantine."""
    return {one["text"]: one["n"] for one in transact(conn, setaside.quarantine)}


def test_a_held_back_cell_is_shown_like_a_row(conn: sqlite3.Connection) -> None:
    """Its last value stays on the web, which nobody would know otherwise."""
    put(conn, problem(3, "12,5,0", effect="field"), problem(4, "x"))
    assert listed(conn) == {"12,5,0": 1, "x": 1}


def test_an_unusable_barcode_is_no_quarantine(conn: sqlite3.Connection) -> None:
    """`check` tells it; nothing is held back by it."""
    put(conn, problem(3, "4.03899E+12", effect="field", code="gtin_scientific"))
    assert listed(conn) == {}


def test_equal_texts_are_counted_and_cleared_one_by_one(conn: sqlite3.Connection) -> None:
    """Two rows with the same unreadable text are one entry that goes with the second correction."""
    put(conn, problem(3, "x"), problem(9, "x"))
    assert listed(conn) == {"x": 2}
    put(conn, cleared=(problem(3, "x"),))
    assert listed(conn) == {"x": 1}
    put(conn, cleared=(problem(8, "x"),))
    assert listed(conn) == {}


def test_a_file_read_in_full_starts_the_list_anew(conn: sqlite3.Connection) -> None:
    """What was set aside before is told again if it is still there."""
    put(conn, problem(3, "x"), problem(4, "y"))
    put(conn, problem(3, "y"), whole=True)
    assert listed(conn) == {"y": 1}
