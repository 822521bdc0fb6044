"""The door to the database: one engine, one transaction per call, and group commit on SQLite.

SQLite runs on one connection in one thread, in WAL mode with synchronous FULL: what a call returned is on
disk. Calls that wait together share one commit (each in its own savepoint), which is what makes many small
batches cheap. PostgreSQL runs the same functions on a small thread pool, and several servers may share it: every
transaction is SERIALIZABLE, so that it reads and writes as if it were alone, and runs again when it was not.
"""

import asyncio
import logging
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from tillbridge_server import crash

R = TypeVar("R")
Call = TypeVar("Call", bound=Callable[..., object])

GROUP_COMMIT_CALLS_MAX = 64
#: Threads of one process on PostgreSQL, each with its own connection.
THREADS = 8
#: A call that collided so often goes back to its caller, who tells the agent to come again.
TRIES_MAX = 12
#: Waits grow from the first to the second of these, each shortened by chance so that rivals do not meet again.
PAUSE_FIRST_S, PAUSE_LONGEST_S = 0.01, 0.5
#: Nothing of the transaction happened, because another one ran at the same moment: serialization failure, deadlock,
#: and a row that was not there when it looked (PostgreSQL manual, appendix A and 13.2.3).
_COLLIDED = frozenset({"40001", "40P01", "23505"})


def make_engine(url: str) -> sa.Engine:
    """An engine whose transactions begin when we say so; SQLite gets its pragmas."""
    # No values in errors: errors are logged, and logs never hold what somebody sent.
    if not url.startswith("sqlite"):
        # It complains to the log of every collision; those are expected, and the error itself is raised.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        # A connection that died while it lay idle is replaced before a call gets it.
        return sa.create_engine(
            url, pool_size=THREADS, max_overflow=0, pool_pre_ping=True, isolation_level="SERIALIZABLE",
            hide_parameters=True,
        )
    engine = sa.create_engine(
        url, poolclass=StaticPool, connect_args={"check_same_thread": False}, hide_parameters=True
    )

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, record: Any) -> None:
        # The driver must not begin or commit by itself: SAVEPOINT and DDL would slip out of the transaction.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "wal_autocheckpoint=256"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def level_triggered(call: Call) -> Call:
    """Mark a store function that is right on a snapshot; it then collides only over rows that it writes or locks.

    It acts on marks (dirty touches, due tasks) that are committed together with what they speak of: what its snapshot
    does not show yet stays marked, and is done next. Such work is long, runs always, and as SERIALIZABLE would starve.
    """
    call.on_snapshot = True  # type: ignore[attr-defined]
    return call


def transact(engine: sa.Engine, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """`call(conn, …)` in one transaction, again while it collides with others; it must bear that.

    Raises what the call raised, and DBAPIError when it collided TRIES_MAX times or the connection broke: a commit
    that was under way then may have happened or not.
    """
    if engine.dialect.name == "postgresql" and getattr(call, "on_snapshot", False):
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    attempt = 0
    while True:
        attempt += 1
        committing = False
        try:
            with engine.begin() as conn:
                result = call(conn, *args, **kwargs)
                crash.reach("store.committing")
                committing = True
            crash.reach("store.committed")
            return result
        except DBAPIError as error:
            if attempt >= TRIES_MAX or not _nothing_happened(error, committing=committing):
                raise
        longest = min(PAUSE_LONGEST_S, PAUSE_FIRST_S * 2 ** (attempt - 1))
        time.sleep(random.uniform(0, longest))  # noqa: S311 - it only spreads rivals


def _nothing_happened(error: DBAPIError, *, committing: bool) -> bool:
    """Whether the transaction surely left nothing behind and may be run again."""
    if getattr(error.orig, "sqlstate", None) in _COLLIDED:
        return True
    return error.connection_invalidated and not committing


class Store:
    """Runs store functions, each in one transaction.

    `shared` says that other processes may use the database at the same time; without it this is its only holder.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.shared = engine.dialect.name != "sqlite"
        self._calls: queue.SimpleQueue[tuple[Callable[[sa.Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        if self.shared:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        else:
            self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
            self._thread.start()

    async def run(self, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """`call(conn, *args, **kwargs)` in one transaction; its exception rolls back that call only."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def submit(self, call: Callable[..., R], *args: Any, **kwargs: Any) -> "Future[R]":
        """The same for callers without a loop."""
        if self._pool is not None:
            return self._pool.submit(transact, self.engine, call, *args, **kwargs)
        future: Future[R] = Future()
        self._calls.put((lambda conn: call(conn, *args, **kwargs), future))
        return future

    def close(self) -> None:
        """Finish what waits, then close the database."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
        if self._pool is not None:
            self._pool.shutdown()
        self.engine.dispose()

    def _serve(self) -> None:
        """The store's thread: take what waits, run each call in a savepoint, commit once."""
        stop = False
        while not stop:
            group = [self._calls.get()]
            while len(group) < GROUP_COMMIT_CALLS_MAX:
                try:
                    group.append(self._calls.get_nowait())
                except queue.Empty:
                    break
            stop = None in group
            self._commit_group([item for item in group if item is not None])

    def _commit_group(self, group: list[tuple[Callable[[sa.Connection], Any], "Future[Any]"]]) -> None:
        live = [(call, future) for call, future in group if future.set_running_or_notify_cancel()]
        if not live:
            return
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self.engine.begin() as conn:
                for call, future in live:
                    try:
                        with conn.begin_nested():
                            result = call(conn)
                        done.append((future, result, None))
                    except Exception as error:  # belongs to its caller: goes to the future
                        if not conn.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                            raise  # a full disk makes SQLite roll back everything, not this savepoint alone
                        done.append((future, None, error))
                crash.reach("store.committing")
            crash.reach("store.committed")
        except BaseException as failure:  # nothing was committed: every caller must know
            done = [(future, None, failure) for _, future in live]
        for future, result, problem in done:
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)


def backup_sqlite(conn: sa.Connection, target: Path) -> None:
    """Copy the last committed state of a live SQLite database file; a plain file copy could be torn.

    `conn` holds the write lock, so nothing moves meanwhile; what it has not committed is not in the copy.
    """
    path = Path(conn.engine.url.database or "").resolve()
    # Through a connection of its own: the backup API waits for ever for one that has a write transaction open.
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
