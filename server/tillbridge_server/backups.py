"""Verified backups: a copy by SQLite's backup API, checked, hashed and recorded; positions in one are durable."""

import datetime as dt
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from tillbridge_server import crash
from tillbridge_server.config import BackupConfig, ServerConfig
from tillbridge_server.errors import Refused
from tillbridge_server.store.database import backup_sqlite
from tillbridge_server.store.tables import agent, backup


def make_backup(conn: sa.Connection, folder: Path, keep: int, now: dt.datetime) -> dict[str, Any]:
    """Copy, check and record; agents may forget what is in it. Returns file, bytes and hash.

    Raises Refused when the database is not a SQLite file, or when the copy cannot be made or does not pass its check;
    nothing of it is left then. The copy is one consistent state; durable is what stands in it, not what this
    transaction may already hold beyond it.
    """
    if conn.dialect.name != "sqlite" or not conn.engine.url.database:
        hint = "Use pg_dump or your replica (server/README.md)."
        raise Refused("backup", "This server's database is not a SQLite file.", hint)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"tillbridge-{now.strftime('%Y%m%dT%H%M%SZ')}.db"
    part = target.with_suffix(".part")
    _drop_parts(folder)
    try:
        backup_sqlite(conn, part)
        positions = _check(part)
        with part.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        part.chmod(0o600)
        crash.reach("backup.written")
        part.replace(target)
        _sync_folder(folder)
    except (sqlite3.Error, OSError) as error:
        hint = "Look at that disk: it may be full."
        raise Refused("backup", f"The copy into {folder} failed: {error}.", hint) from error
    finally:
        _drop_parts(folder)
    crash.reach("backup.renamed")
    size = target.stat().st_size
    conn.execute(backup.insert().values(at=now, file=target.name, bytes=size, sha256=digest))
    for agent_id, epoch, seq in positions:
        conn.execute(
            agent.update().where(agent.c.id == agent_id, agent.c.epoch == epoch).values(durable_seq=seq)
        )
    for old in sorted(folder.glob("tillbridge-*.db"))[:-keep]:
        old.unlink()
    return {"v": 1, "file": str(target), "bytes": size, "sha256": digest}


def next_backup_at(config: ServerConfig, plan: BackupConfig, now: dt.datetime) -> dt.datetime:
    """The next instant (UTC) at which the clock of the server's zone shows the planned time."""
    zone = ZoneInfo(config.time_zone)
    hour, minute = (int(part) for part in plan.at.split(":"))
    local = now.astimezone(zone)
    due = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if due <= local:
        due += dt.timedelta(days=1)
    return due.astimezone(dt.UTC)


def _drop_parts(folder: Path) -> None:
    """Take away what backups that failed have left."""
    for part in folder.glob("tillbridge-*.part*"):
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable before anybody forgets what is in the copy; Windows does it with the rename."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check(path: Path) -> list[tuple[str, str | None, int]]:
    """The positions (agent, epoch, seq) that stand in the copy. Raises Refused."""
    copy = sqlite3.connect(path)
    try:
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        positions = copy.execute("SELECT id, epoch, seq FROM agent").fetchall() if verdict == "ok" else []
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()
    finally:
        copy.close()
    if verdict != "ok":
        raise Refused("backup", f"The copy did not pass its check: {verdict}.", "Check the disk of the server.")
    return positions
