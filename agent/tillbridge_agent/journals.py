"""Append-only journals: reads what was added behind the last offset, complete rows only, and queues the events.

The offset and a hash of everything before it are kept with the queued events in one transaction. When the
file is shorter than the offset, or its beginning is another one, it was cut or replaced: it is read from the
start again, and natural ids keep what was sent before from counting twice. Journals need no staged copy:
each event carries the text of its row.
"""

import datetime as dt
import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from tillbridge_agent import crash
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.errors import MappingError, ReadError
from tillbridge_agent.evaluate import Segment, read_segment
from tillbridge_agent.sources.folder import Seen, open_shared
from tillbridge_agent.store import captures, outbox, setaside
from tillbridge_agent.store.database import AgentStore
from tillbridge_protocol.changes import Change, Source
from tillbridge_protocol.records import EVENT_KINDS, key_of, kind_of

log = structlog.get_logger()
SEGMENT_BYTES = 1024 * 1024
TAIL_BYTES = 4096


@dataclass
class _Prefix:
    """What was read of one file by this process: where it ended, the running hash, and its last bytes."""

    position: int
    digest: Any
    tail: bytes


@dataclass
class Journals:
    """Reads the journals of all feeds on the capture thread; every method blocks."""

    store: AgentStore
    clock: Callable[[], dt.datetime]
    _prefixes: dict[tuple[str, str], _Prefix] = field(default_factory=dict)

    def take(self, feed: FeedConfig, seen: Seen) -> int:
        """Queue the events of every complete new row; returns how many. Raises OSError.

        A segment that cannot be read is quarantined; the file is read on from there when it changes.
        """
        total = 0
        while True:
            count, more = self._segment(feed, seen)
            total += count
            if not more:
                return total

    def _segment(self, feed: FeedConfig, seen: Seen) -> tuple[int, bool]:
        row = self.store.submit(captures.journal, feed.name, seen.name).result()
        with open_shared(seen.path) as file:
            prefix = self._prefix(feed.name, seen.name, row, file)
            known = row if prefix.position else None
            file.seek(prefix.position)
            data = _read(file, SEGMENT_BYTES)
        if not data:
            return 0, False
        columns = tuple(json.loads(known["columns"])) if known else None
        try:
            segment = read_segment(
                feed, (known["encoding"] or None) if known else None, columns, data, known["line"] if known else 1
            )
        except (ReadError, MappingError) as error:
            self._set_aside(feed, seen, data, error)
            return 0, False
        if not segment.consumed:
            if len(data) >= SEGMENT_BYTES:
                endless = ReadError("row_long", f"A row of {seen.name} is longer than {SEGMENT_BYTES} bytes.",
                                    hint="Something other than the till wrote into it. "
                                         "Let the till begin a new journal.")
                self._set_aside(feed, seen, data, endless)
            return 0, False
        # Bytes of ASCII alone fit every encoding: which one it is stays open until another byte has come.
        undecided = not (known and known["encoding"]) and data[: segment.consumed].isascii()
        encoding = "" if undecided else segment.encoding
        return self._queue(feed, seen, prefix, data, segment, encoding), len(data) >= SEGMENT_BYTES

    def _queue(
        self, feed: FeedConfig, seen: Seen, prefix: _Prefix, data: bytes, segment: Segment, encoding: str,
    ) -> int:
        now = self.clock()
        used = data[: segment.consumed]
        digest = prefix.digest.copy()
        digest.update(used)
        position = prefix.position + len(used)
        changes = [
            Change(
                feed.name, kind_of(record), key_of(record), "put", record,
                Source(file=seen.name, sha256=digest.hexdigest(), line=mapped.row.line, text=mapped.row.text,
                       captured_at=now),
            )
            for mapped in segment.rows for record in mapped.records if kind_of(record) in EVENT_KINDS
        ]
        state = {
            "feed": feed.name, "file": seen.name, "position": position, "prefix": digest.hexdigest(),
            "line": segment.next_line, "columns": json.dumps(segment.columns), "encoding": encoding,
            "looked_at": now.isoformat(),
        }
        self.store.submit(_commit, feed, seen, changes, state, segment).result()
        crash.reach("journal.committed")
        self._prefixes[feed.name, seen.name] = _Prefix(position, digest, (prefix.tail + used)[-TAIL_BYTES:])
        log.info("journal", feed=feed.name, file=seen.name, rows=len(segment.rows), changes=len(changes))
        return len(changes)

    def _prefix(self, feed: str, name: str, row: sqlite3.Row | None, file: Any) -> _Prefix:
        """How far the file was read, or the start when it is not the file it was."""
        fresh = _Prefix(0, hashlib.sha256(), b"")
        if row is None or not row["position"]:
            return fresh
        known = self._prefixes.get((feed, name))
        if known is not None and known.position == row["position"]:
            file.seek(known.position - len(known.tail))
            if _read(file, len(known.tail)) == known.tail:
                return known
        digest, left, tail = hashlib.sha256(), row["position"], b""
        file.seek(0)
        while left:
            chunk = _read(file, min(left, SEGMENT_BYTES))
            if not chunk:
                break
            digest.update(chunk)
            left -= len(chunk)
            tail = (tail + chunk)[-TAIL_BYTES:]
        if left or digest.hexdigest() != row["prefix"]:
            log.warning("journal begins anew", feed=feed, file=name)
            return fresh
        return _Prefix(row["position"], digest, tail)

    def _set_aside(self, feed: FeedConfig, seen: Seen, data: bytes, error: ReadError | MappingError) -> None:
        at, sha256 = self.clock().isoformat(), hashlib.sha256(data).hexdigest()
        self.store.submit(
            setaside.quarantine_file, feed=feed.name, file=seen.name, sha256=sha256, since=at,
            reason=(error.code, error.message, error.hint),
        ).result()
        log.warning("quarantine", feed=feed.name, file=seen.name, code=error.code, message=error.message)


def _commit(
    conn: sqlite3.Connection, feed: FeedConfig, seen: Seen, changes: list[Change], state: dict[str, object],
    segment: Segment,
) -> None:
    at = str(state["looked_at"])
    captures.append_events(conn, feed.name, changes, state, at)
    setaside.quarantine_rows(
        conn, feed=feed.name, file=seen.name, sha256=str(state["prefix"]), since=at, problems=segment.problems,
        cleared=(), whole=False,
    )
    outbox.count(conn, "rows_read", len(segment.rows))
    rejected = sum(1 for mapped in segment.rows if any(one.effect == "row" for one in mapped.problems))
    outbox.count(conn, "rows_rejected", rejected)


def _read(file: Any, size: int) -> bytes:
    """Up to `size` bytes; raw files may give less at once."""
    data = b""
    while len(data) < size and (chunk := file.read(size - len(data))):
        data += chunk
    return data
