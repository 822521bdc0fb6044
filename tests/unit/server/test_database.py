"""The door to the database: who is told what when a group shares one commit, and what comes back as it was put."""

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from tests.engines import Postgres

from tillbridge_server.store import database
from tillbridge_server.store.database import Store, make_engine
from tillbridge_server.store.types import InstantType, instant_text


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of one table on a disk with room for a few pages only."""
    engine = make_engine(f"sqlite:///{tmp_path / 'small.db'}")
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE note (text TEXT UNIQUE)")
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}").fetchall()
    opened = Store(engine)
    yield opened
    opened.close()


def _put(conn: sa.Connection, text: str) -> str:
    conn.exec_driver_sql("INSERT INTO note VALUES (?)", (text,))
    return text


def _notes(conn: sa.Connection) -> list[str]:
    return [row.text for row in conn.exec_driver_sql("SELECT text FROM note ORDER BY text")]


def _together(store: Store, texts: list[str]) -> list[str | None]:
    """What each caller hears whose calls share one commit; None for an error."""
    gate = threading.Event()
    store.submit(lambda conn: gate.wait())
    futures = [store.submit(_put, text) for text in texts]
    gate.set()
    return [None if future.exception() else future.result() for future in futures]


def test_a_failing_call_costs_no_other(store: Store) -> None:
    """A broken rule of one call rolls back that call only."""
    assert _together(store, ["a", "a", "b"]) == ["a", None, "b"]
    assert store.submit(_notes).result() == ["a", "b"]


def test_full_disk_is_told_to_everybody(store: Store) -> None:
    """SQLite rolls the whole group back: nobody may believe that theirs is on the disk, and the next call works."""
    assert _together(store, ["a", "x" * 100_000, "b"]) == [None, None, None]
    assert store.submit(_notes).result() == []
    assert store.submit(_put, "c").result() == "c"
    assert store.submit(_notes).result() == ["c"]


@pytest.fixture
def shared(postgres: Postgres) -> Iterator[Store]:
    """A store of one table on PostgreSQL."""
    url = postgres.make()
    opened = Store(make_engine(url))
    opened.submit(lambda conn: conn.exec_driver_sql("CREATE TABLE place (n bigint PRIMARY KEY)")).result()
    yield opened
    opened.close()
    postgres.drop(url)


def _next(conn: sa.Connection) -> int:
    """Read, then write what follows from it."""
    number = conn.exec_driver_sql("SELECT coalesce(max(n), 0) + 1 FROM place").scalar_one()
    conn.exec_driver_sql("INSERT INTO place VALUES (%s)", (number,))
    return int(number)


@pytest.mark.postgresql
def test_calls_that_collide_run_again(shared: Store) -> None:
    """Each one is as if it were alone: nobody gets the number of another."""
    assert sorted(future.result() for future in [shared.submit(_next) for _ in range(40)]) == list(range(1, 41))


@pytest.mark.postgresql
@pytest.mark.parametrize(("state", "tries"), [
    ("40001", database.TRIES_MAX), ("40P01", database.TRIES_MAX), ("23505", database.TRIES_MAX), ("22012", 1),
])
def test_collisions_have_a_bound(shared: Store, monkeypatch: pytest.MonkeyPatch, state: str, tries: int) -> None:
    """Whoever always collides is told in the end; any other error is told at once."""
    monkeypatch.setattr(database.time, "sleep", lambda seconds: None)
    tried: list[int] = []

    def collide(conn: sa.Connection) -> None:
        tried.append(1)
        conn.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(DBAPIError, match="met"):
        shared.submit(collide).result()
    assert len(tried) == tries


@pytest.mark.postgresql
def test_a_connection_that_breaks_before_the_commit(shared: Store) -> None:
    """Nothing of the call is there, so it runs again on another connection: once in the end."""
    seen: list[int] = []

    def broken(conn: sa.Connection) -> int:
        number = _next(conn)
        seen.append(number)
        if len(seen) == 1:
            conn.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        return number

    assert shared.submit(broken).result() == 1
    assert seen == [1, 1]


@pytest.mark.parametrize("at", [
    dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC),
    dt.datetime(2026, 11, 23, 9, tzinfo=dt.timezone(dt.timedelta(hours=1))),
])
def test_instants_come_back(at: dt.datetime) -> None:
    """Also the year 1, which some tills write for "no time": it must not make a whole table unreadable."""
    text = instant_text(at)
    assert len(text) == 27
    assert InstantType().process_result_value(text, None) == at  # type: ignore[arg-type]
