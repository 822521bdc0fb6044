"""The verified backup of a running server: it ends, it opens, and only what stands in it counts as durable."""

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tillbridge_protocol.changes import NO_HEAD, Change, FeedInfo, FrozenBatch, encode_change, freeze
from tillbridge_protocol.positions import Ack, Boot, Position
from tillbridge_protocol.records import StockLevel
from tillbridge_server.agents.inbox import Lane, receive_batch
from tillbridge_server.backups import make_backup
from tillbridge_server.errors import Refused
from tillbridge_server.store.database import Store, make_engine
from tillbridge_server.store.migrations import migrate
from tillbridge_server.store.tables import agent, backup, location

NOW = dt.datetime(2026, 11, 23, 2, 30, tzinfo=dt.UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A server's store on disk, with one agent that has sent nothing yet."""
    engine = make_engine(f"sqlite:///{tmp_path / 'tillbridge.db'}")
    migrate(engine)
    opened = Store(engine)
    opened.submit(_enrolled).result()
    yield opened
    opened.close()


def _enrolled(conn: sa.Connection) -> None:
    conn.execute(location.insert().values(id="mallow", name="m", phase="observe", time_zone="UTC", created_at=NOW))
    conn.execute(agent.insert().values(
        id="agent-1", location_id="mallow", key_id="a/agent-1/1", public_key="00" * 32, status="active", host="{}",
        seq=0, head="", durable_seq=0, boot_n=0, boots_seen="[]", resync_asked=False, enrolled_at=NOW,
    ))


def _batch(before: FrozenBatch | None) -> FrozenBatch:
    at = Position("epoch-1", before.seq, before.head) if before else Position("epoch-1", 0, NO_HEAD)
    record = StockLevel("1028", Decimal(at.seq))
    change = encode_change(Change("stock", "stock_level", "1028", "put", record))
    return freeze(agent="agent-1", location="mallow", epoch=at.epoch, seq=at.seq + 1, prev=at.head,
                  feeds={"stock": FeedInfo("pos")}, full=None, changes=[change])


def _apply(conn: sa.Connection, batch: FrozenBatch) -> Any:
    lane = Lane(Position("epoch-1", batch.seq - 1, NO_HEAD), Boot("boot", batch.seq), NOW)
    return receive_batch(conn, "agent-1", batch.body, lane, backs_up=True, now=NOW)


def _durable(conn: sa.Connection) -> int:
    return int(conn.execute(sa.select(agent.c.durable_seq)).scalar_one())


def _in_copy(path: str) -> int:
    with closing(sqlite3.connect(path)) as copy:
        return int(copy.execute("SELECT seq FROM agent").fetchone()[0])


def test_backup_of_a_running_server(store: Store, tmp_path: Path) -> None:
    """It ends while the store's own transaction is open, is whole, and moves what is durable."""
    first = _batch(None)
    ack = store.submit(_apply, first).result()
    assert isinstance(ack, Ack)
    assert ack.durable_seq == 0, "nothing is safe yet"
    told = store.submit(make_backup, tmp_path / "backups", 3, NOW).result(timeout=60)
    assert _in_copy(told["file"]) == 1
    assert store.submit(_durable).result() == 1
    second = store.submit(_apply, _batch(first)).result()
    assert (second.seq, second.durable_seq) == (2, 1)


def test_only_what_is_in_the_copy_is_durable(store: Store, tmp_path: Path) -> None:
    """A batch applied in the same group commit, and therefore not committed yet, is not told to be safe."""
    first = _batch(None)
    store.submit(_apply, first).result()
    gate = threading.Event()
    store.submit(lambda conn: gate.wait(30))
    together = [store.submit(_apply, _batch(first)), store.submit(make_backup, tmp_path / "backups", 3, NOW)]
    gate.set()
    ack, told = (one.result(timeout=60) for one in together)
    assert ack.seq == 2
    assert _in_copy(told["file"]) == store.submit(_durable).result() == 1


def test_keeps_the_newest(store: Store, tmp_path: Path) -> None:
    """Older copies go; each that stays was recorded."""
    days = [NOW + dt.timedelta(days=number) for number in range(4)]
    files = [store.submit(make_backup, tmp_path / "backups", 2, day).result(timeout=60)["file"] for day in days]
    assert sorted(map(str, (tmp_path / "backups").iterdir())) == files[-2:]
    recorded = store.submit(lambda conn: len(conn.execute(sa.select(backup)).all())).result()
    assert recorded == 4


def test_a_copy_that_fails_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the backups is full: said in words, nothing is durable, and its space is given back."""
    store.submit(_apply, _batch(None)).result()
    folder = tmp_path / "backups"

    def full(conn: sa.Connection, target: Path) -> None:
        target.write_bytes(b"half a database")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("tillbridge_server.backups.backup_sqlite", full)
    with pytest.raises(Refused, match="full"):
        store.submit(make_backup, folder, 3, NOW).result(timeout=60)
    assert list(folder.iterdir()) == []
    assert store.submit(_durable).result() == 0


def test_nothing_to_copy() -> None:
    """A database in memory has no file: refused, and the store lives on."""
    engine = make_engine("sqlite://")
    migrate(engine)
    opened = Store(engine)
    with pytest.raises(Refused):
        opened.submit(make_backup, Path("nowhere"), 3, NOW).result(timeout=60)
    assert opened.submit(lambda conn: conn.execute(sa.text("SELECT 1")).scalar()).result() == 1
    opened.close()
