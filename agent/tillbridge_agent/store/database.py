"""The agent's database: one SQLite file, one connection, one thread, one transaction per call.

WAL with synchronous FULL and EXCLUSIVE locking: what a call returned survives a power cut, and no second
connection can exist (SQLite before 3.51.3 can corrupt a WAL shared by two). `status` and the other verbs
therefore ask the running agent over its local door.
"""

import asyncio
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from tillbridge_agent import crash

R = TypeVar("R")
SCHEMA_STEPS = 2


def load_statements(text: str) -> dict[str, str]:
    """Named statements from `-- name --` sections."""
    statements: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("-- ") and line.endswith(" --"):
            name = line[3:-3].strip()
            assert name not in statements, f"two statements are named {name}"
            statements[name] = ""
        elif name and not line.startswith("--"):
            statements[name] += line + "\n"
    return {name: sql.strip() for name, sql in statements.items()}


#: Every statement of the hot path, by name.
SQL = load_statements("".join(
    (files("tillbridge_agent.store") / name).read_text(encoding="utf-8") for name in ("queries.sql", "orders.sql")
))


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the database, bring its schema up to date, set its pragmas."""
    # Autocommit off the driver's hands: transactions are ours, and DDL must stay inside them.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=256"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    steps = connection.execute("PRAGMA user_version").fetchone()[0]
    if steps < SCHEMA_STEPS:
        _migrate(connection, path, steps)
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, steps: int) -> None:
    """Apply what is due; the database as it was is kept beside it."""
    from sqlite_utils import Database

    from tillbridge_agent.store.migrations import STEPS, migrations

    assert STEPS == SCHEMA_STEPS
    if steps and path.exists():
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        shutil.copyfile(path, path.with_suffix(f".before-{SCHEMA_STEPS}.db"))
    migrations.apply(Database(connection))
    connection.execute(f"PRAGMA user_version = {SCHEMA_STEPS}")


def transact(connection: sqlite3.Connection, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """`call(connection, …)` between BEGIN and COMMIT; an exception rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = call(connection, *args, **kwargs)
        crash.reach("store.committing")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # after a full disk SQLite has rolled back by itself
            connection.execute("ROLLBACK")
        raise
    crash.reach("store.committed")
    return result


class AgentStore:
    """The thread that owns the connection; every call is one transaction."""

    def __init__(self, path: Path) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._opened: Future[None] = Future()
        self._path = path
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._thread.start()
        self._opened.result()

    def submit(self, call: Callable[..., R], *args: Any, **kwargs: Any) -> "Future[R]":
        """Run `call(connection, …)` in one transaction on the store's thread."""
        future: Future[R] = Future()
        self._calls.put((lambda: transact(self._connection, call, *args, **kwargs), future))
        return future

    async def run(self, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """The same, awaited."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def close(self) -> None:
        """Finish what waits, then close the database."""
        self._calls.put(None)
        self._thread.join()

    def _serve(self) -> None:
        try:
            self._connection = open_database(self._path)
        except BaseException as error:  # the opener waits for it
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        while (item := self._calls.get()) is not None:
            call, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # belongs to the caller
                future.set_exception(error)
        self._connection.close()
