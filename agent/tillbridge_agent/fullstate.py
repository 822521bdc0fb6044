"""Full states: a cursor over the kept copy of a feed, part by part, never a million outbox rows.

The cursor lives in memory; that it was opened, and over which copy, is noted in the database in one order with
the captures. After a restart the full state begins again from its first part over the newest copy; the server
throws the half shadow set away.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tillbridge_agent.core.delta import key_hash
from tillbridge_agent.core.rows import Mapped
from tillbridge_agent.errors import AgentError
from tillbridge_agent.store import captures
from tillbridge_agent.store.captures import Known, as_of_change
from tillbridge_agent.store.database import SQL, AgentStore
from tillbridge_agent.store.outbox import Part
from tillbridge_protocol.changes import Change, Source, encode_change
from tillbridge_protocol.limits import BATCH_BYTES_MAX, BATCH_CHANGES_MAX
from tillbridge_protocol.records import STATE_KINDS, AsOf, key_of, kind_of

log = structlog.get_logger()
#: Opens the rows of a feed's kept copy under its current mapping.
OpenRows = Callable[[Known, Path], Iterator[Mapped]]


@dataclass
class _Cursor:
    feed: str
    copy: Path
    full_id: str
    rows: Iterator[bytes]
    number: int = 0
    ahead: list[bytes] = field(default_factory=list)


class FullStates:
    """Cuts full states into parts; at most one is under way."""

    def __init__(
        self, store: AgentStore, copies: Path, open_rows: OpenRows, lost: Callable[[str], None],
    ) -> None:
        """`lost` hears of feeds whose kept copy cannot be read: their export must be looked at again."""
        self._store, self._copies, self._open_rows, self._lost = store, copies, open_rows, lost
        self._cursor: _Cursor | None = None

    def restart(self) -> None:
        """Forget the cursor: a new epoch, or a feed whose mapping changed."""
        self._cursor = None

    def finished(self, feed: str) -> None:
        """The last part of this feed is frozen."""
        assert self._cursor is not None
        assert self._cursor.feed == feed
        self._cursor = None

    async def next_part(self) -> Part | None:
        """The next part of the full state that is due, or None when none is."""
        failed: set[str] = set()
        while True:
            cursor = self._cursor = self._cursor or await self._open_next(failed)
            if cursor is None:
                return None
            try:
                changes, last = await asyncio.to_thread(_cut, cursor)
            except (OSError, AgentError, ValueError) as error:
                failed.add(cursor.feed)
                self._damaged(cursor, error)
                continue
            part = Part(cursor.feed, cursor.full_id, cursor.number, changes, last)
            cursor.number += 1
            return part

    def _damaged(self, cursor: _Cursor, error: Exception) -> None:
        """A copy that was believed once cannot be read any more: it counts as lost, and the others go on."""
        log.error("copy damaged", feed=cursor.feed, copy=cursor.copy.name, error=f"{type(error).__name__}: {error}")
        self.restart()
        if not isinstance(error, OSError):  # its content is not what it was; a disk may only be busy
            cursor.copy.unlink(missing_ok=True)
        self._lost(cursor.feed)

    async def _open_next(self, failed: Collection[str]) -> _Cursor | None:
        for feed in await self._store.run(captures.fulls_due):
            if feed in failed:
                continue
            known, kept, conflicts, as_of = await self._store.run(_begin, feed)
            path = self._copies / known.sha256
            if not path.exists():
                self._lost(feed)
                continue
            changes = _encoded(known, self._open_rows(known, path), kept, conflicts, as_of)
            return _Cursor(feed, path, secrets.token_hex(8), changes)
        return None


def _begin(conn: sqlite3.Connection, feed: str) -> tuple[Known, list[bytes], frozenset[bytes], AsOf | None]:
    known = captures.begin_full(conn, feed)
    as_of = captures.as_of(conn.execute(SQL["feed_get"], (feed,)).fetchone())
    return known, captures.kept_changes(conn, feed), captures.conflicts(conn, feed), as_of


def _encoded(
    known: Known, rows: Iterator[Mapped], kept: list[bytes], conflicts: frozenset[bytes], as_of: AsOf | None,
) -> Iterator[bytes]:
    """Every believed record of the copy as a change; then the values kept for rows that cannot be believed."""
    for mapped in rows:
        if mapped.key is None or mapped.filtered or (conflicts and key_hash(mapped.key) in conflicts):
            continue
        source = Source(
            file=known.file, sha256=known.sha256, line=mapped.row.line, text=mapped.row.text,
            captured_at=as_of.to if as_of else None,
        )
        for record in mapped.records:
            kind = kind_of(record)
            if kind in STATE_KINDS:
                stamped = as_of_change(record, as_of) if as_of else record
                yield encode_change(Change(known.feed, kind, key_of(record), "put", stamped, source))
    yield from kept


def _cut(cursor: _Cursor) -> tuple[list[bytes], bool]:
    """Up to one batch of changes, and whether nothing follows them."""
    changes, size = cursor.ahead, sum(map(len, cursor.ahead))
    cursor.ahead = []
    for change in cursor.rows:
        if len(changes) >= BATCH_CHANGES_MAX or size + len(change) > BATCH_BYTES_MAX:
            cursor.ahead = [change]
            return changes, False
        changes.append(change)
        size += len(change)
    return changes, True
