"""One transaction per call: what a failing call leaves behind."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from sqlite_utils import Database

from tillbridge_agent.store import order_states, orders, outbox
from tillbridge_agent.store.database import SCHEMA_STEPS, open_database, transact
from tillbridge_agent.store.migrations import m001_first
from tillbridge_protocol.changes import Change, FeedInfo, open_batch
from tillbridge_protocol.positions import Ack, Position
from tillbridge_protocol.records import StockLevel


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


def test_a_database_of_the_first_release_keeps_its_queue(tmp_path: Path) -> None:
    """What was queued and in flight goes on as it was, orders can come, and the old database lies beside."""
    path = tmp_path / "agent.db"
    old = sqlite3.connect(path, isolation_level=None)
    m001_first(Database(old))
    Database(old)["_sqlite_migrations"].insert(
        {"migration_set": "tillbridge-agent", "name": "m001_first", "applied_at": "2026-11-01"}
    )
    for name, value in (("epoch", "e1"), ("seq", "6"), ("head", "ab" * 32)):
        old.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
    old.execute(
        "INSERT INTO batch (epoch, seq, head, body, changes, events, frozen_at, full_last, acked) "
        "VALUES ('e1', 7, ?, X'00', 1, 0, '2026-11-01T00:00:00+00:00', 0, 0)", ("cd" * 32,),
    )
    body = b'{"feed":"stock","kind":"stock_level","key":"1","op":"gone"}'
    old.execute("INSERT INTO change (feed, kind, key, event, body, captured_at) "
                "VALUES ('stock', 'stock_level', '1', 0, ?, '2026-11-01T00:00:00+00:00')", (body,))
    old.execute("PRAGMA user_version = 1")
    old.close()
    connection = open_database(path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_STEPS
    assert path.with_suffix(f".before-{SCHEMA_STEPS}.db").exists()
    flying = transact(connection, outbox.in_flight)
    assert flying is not None
    assert (flying.seq, flying.body) == (7, b"\0")
    assert not transact(connection, order_states.unacked)
    transact(connection, outbox.settle, Ack("e1", 7, "cd" * 32, 7))
    newer = Change("stock", "stock_level", "2", "put", StockLevel("2", Decimal(4)))
    transact(connection, outbox.put_changes, [newer], "")
    sender = outbox.Sender("a1", "mallow", {"stock": FeedInfo("pos")})
    batch = transact(connection, outbox.freeze_changes, sender, "")
    assert batch is not None
    assert (batch.seq, bytes(open_batch(batch.body).changes[0])) == (8, body)
    assert transact(connection, outbox.position) == Position("e1", 7, "cd" * 32)
    assert transact(connection, orders.to_place) == []
    connection.close()
