"""One transaction per call: what a failing call leaves behind."""

import sqlite3
from pathlib import Path

import pytest

from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import open_database, transact


def test_full_disk_is_told_and_over_when_there_is_room(tmp_path: Path) -> None:
    """The caller hears that the disk is full, nothing of its call stays, and the next call works."""
    connection = open_database(tmp_path / "agent.db")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        transact(connection, outbox.put_meta, "long", "x" * 100_000)
    transact(connection, outbox.put_meta, "short", "y")
    assert transact(connection, outbox.meta, "long") is None
    assert transact(connection, outbox.meta, "short") == "y"
    connection.close()
