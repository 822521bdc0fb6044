"""The encoding of a growing journal is decided by its first byte beyond ASCII, not by its header."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tillbridge_agent.config import load_feed
from tillbridge_agent.journals import Journals
from tillbridge_agent.sources.folder import list_folder
from tillbridge_agent.store import setaside
from tillbridge_agent.store.database import AgentStore

FEED = """
name = "sales"
absence = "nothing"
source = { type = "folder", path = ".", pattern = "J*.CSV", style = "journal" }
reader = { format = "delimited", separator = ";", encodings = ["utf-8", "cp1252"] }
[mapping]
key = ["Bon"]
code = "ArtNr"
currency = "CHF"
time_zone = "Europe/Zurich"
[mapping.sale_line]
quantity = "Menge"
at = { column = "Zeit", format = "%d.%m.%Y %H:%M:%S" }
reason = "Text"
"""
HEADER = b"Bon;ArtNr;Menge;Zeit;Text\r\n"


class Growing:
    """A journal that grows, and the agent's reading of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "feed.toml").write_text(FEED)
        self.feed = load_feed(folder / "feed.toml")
        self.path = folder / "J.CSV"
        self.store = AgentStore(folder / "agent.db")
        self.journals = Journals(self.store, lambda: dt.datetime(2026, 11, 23, tzinfo=dt.UTC))

    def add(self, data: bytes) -> int:
        """Appends bytes and looks; returns how many events were queued."""
        with self.path.open("ab") as file:
            file.write(data)
        (seen,) = list_folder(self.path.parent, "J*.CSV")
        return self.journals.take(self.feed, seen)

    def row(self, number: int, text: str, encoding: str = "ascii") -> bytes:
        """One row of the journal."""
        return f"{number};0042;1;23.11.2026 10:00:0{number};{text}\r\n".encode(encoding)

    def queued(self) -> list[str | None]:
        """The texts of the queued events, in order."""
        return [msgspec.json.decode(body)["record"].get("reason") for body in self.store.submit(_queued).result()]

    def quarantined(self) -> list[str]:
        """The reasons of what was set aside."""
        return [entry["code"] for entry in self.store.submit(setaside.quarantine).result()]


def _queued(conn: sqlite3.Connection) -> list[bytes]:
    return [row["body"] for row in conn.execute("SELECT body FROM change ORDER BY id")]


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    """A journal that is not there yet."""
    made = Growing(tmp_path)
    yield made
    made.store.close()


def test_a_header_decides_nothing(growing: Growing) -> None:
    """The header and a plain row come first; the umlaut after them is read in the page it is written in."""
    assert growing.add(HEADER) == 0
    assert growing.add(growing.row(1, "plain")) == 1
    assert growing.add(growing.row(2, "Käse", "cp1252")) == 1
    assert growing.add(growing.row(3, "plain")) == 1
    assert growing.add(growing.row(4, "Grün", "cp1252")) == 1
    assert growing.queued() == ["plain", "Käse", "plain", "Grün"]
    assert growing.quarantined() == []


def test_what_is_decided_stays(growing: Growing) -> None:
    """A journal that proved to be UTF-8 is not read in another page later: that would be a plausible wrong text."""
    assert growing.add(HEADER + growing.row(1, "Käse", "utf-8")) == 1
    assert growing.add(growing.row(2, "plain")) == 1
    assert growing.add(growing.row(3, "Grün", "cp1252")) == 0
    assert growing.queued() == ["Käse", "plain"]
    assert growing.quarantined() == ["wrong_encoding"]
