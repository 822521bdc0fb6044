"""What the capture transaction writes: the reference to the staged copy, the snapshot, the queued changes.

Either all of it is there after a power cut or none of it (DESIGN §5.1).
"""

import datetime as dt
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tillbridge_agent import crash
from tillbridge_agent.core.delta import DeltaResult, KeyedChange
from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import SQL, AgentStore
from tillbridge_protocol.changes import Change, Source
from tillbridge_protocol.records import AsOf, Record, StockLevel, key_of, kind_of

_RECORD = msgspec.json.Decoder(Change)
STAGED_ROWS_MAX = 5_000


@dataclass(frozen=True)
class Accepted:
    """A file that passed the trust gate: where its copy is known by hash, and how it was read.

    `counts` are rows read, accepted, rejected, filtered, and 1 when every row stands on one line.
    """

    feed: str
    fingerprint: str
    config: str
    file: str
    sha256: str
    encoding: str
    columns: tuple[str, ...]
    rows: int
    counts: tuple[int, int, int, int, int]
    bytes: int
    mtime_ns: int
    absence: str
    as_of: AsOf
    captured_at: str


@dataclass(frozen=True)
class Known:
    """The last accepted state of a feed, as stored.

    `full` says that a full state is still to be sent, `sending` that parts of it are being cut.
    """

    feed: str
    fingerprint: str
    config: str
    file: str
    sha256: str
    encoding: str
    columns: tuple[str, ...]
    rows: int
    counts: tuple[int, int, int, int, int]
    mtime_ns: int
    accepted_at: str
    as_of_to: str | None
    full: bool
    sending: bool


def known(conn: sqlite3.Connection, feed: str) -> Known | None:
    """The last accepted state of this feed, or None."""
    row = conn.execute(SQL["feed_get"], (feed,)).fetchone()
    return None if row is None else _known(row)


def fulls_due(conn: sqlite3.Connection) -> list[str]:
    """Feeds that owe the server a full state, the smallest first."""
    return [row["name"] for row in conn.execute(SQL["feed_full_due"])]


def known_all(conn: sqlite3.Connection) -> list[Known]:
    """The last accepted state of every feed."""
    return [_known(row) for row in conn.execute(SQL["feed_all"])]


def begin_full(conn: sqlite3.Connection, feed: str) -> Known:
    """Parts of the owed full state will be cut from the last accepted copy, which stays until the last one.

    It is noted here and not in memory, because a capture may commit at any moment: what it queues before
    this is in the copy, what it queues after must follow the full state.
    """
    found = known(conn, feed)
    assert found is not None
    conn.execute(SQL["feed_full_begin"], (feed,))
    outbox.put_meta(conn, outbox.FULL_COPY, found.sha256)
    return found


def commit(conn: sqlite3.Connection, file: Accepted, delta: DeltaResult, *, full: bool, approved: bool) -> int:
    """The capture transaction; returns how many changes were captured.

    `full`: the whole snapshot stands in the staging table and replaces the old one; the feed owes the server
    a full state, so queued state changes of it are dropped. While parts of an earlier full state, read from
    the copy before this one, are under way, this delta follows it. `approved`: this is a held file and not the
    one in the folder now, so that a later held one still waits.
    """
    before = known(conn, file.feed)
    sending = before is not None and before.sending
    changes = [_change(file, change) for change in delta.changes]
    if full:
        _replace_snapshot(conn, file, delta)
    else:
        if sending:
            changes += _told_again(conn, file, delta)
        _update_snapshot(conn, file, delta, before)
    if file.absence == "nothing":
        changes = _keep_absent(conn, file, delta, changes, before)
    owes = full or (before is not None and before.full and not sending)
    if owes:
        conn.execute(SQL["change_drop_state"], (file.feed,))
    else:
        outbox.put_changes(conn, changes, file.captured_at)
    conn.execute(SQL["feed_accept"], {
        "name": file.feed, "fingerprint": file.fingerprint, "config": file.config, "file": file.file,
        "sha256": file.sha256, "encoding": file.encoding, "columns": json.dumps(file.columns), "rows": file.rows,
        "counts": json.dumps(file.counts), "bytes": file.bytes, "mtime_ns": file.mtime_ns,
        "accepted_at": file.captured_at,
        "as_of_from": file.as_of.from_.isoformat(), "as_of_to": file.as_of.to.isoformat(),
        "as_of_kind": file.as_of.kind, "full": int(full),
    })
    conn.execute(SQL["quarantine_file_gone"], (file.feed, file.sha256))
    _supersede(conn, file.feed, "" if approved else file.file, file.mtime_ns, file.captured_at)
    _count(conn, changes, "files_accepted")
    crash.reach("capture.writing")
    return len(changes)


def seen_again(conn: sqlite3.Connection, feed: str, file: str, mtime_ns: int, as_of: AsOf) -> None:
    """The accepted content was written once more: every row of it is confirmed for a later interval.

    What was held before it is history then, which nobody may approve any more.
    """
    interval = (as_of.from_.isoformat(), as_of.to.isoformat(), as_of.kind)
    conn.execute(SQL["feed_seen_again"], (file, mtime_ns, *interval, feed))
    _supersede(conn, feed, file, mtime_ns, as_of.to.isoformat())


def _supersede(conn: sqlite3.Connection, feed: str, file: str, mtime_ns: int, at: str) -> None:
    """Close the holds of this feed that are older than what is believed now, or were about the same file."""
    conn.execute(SQL["hold_supersede"], (at, feed, mtime_ns, file))


def append_events(
    conn: sqlite3.Connection, feed: str, changes: Sequence[Change], journal: dict[str, object], captured_at: str,
) -> None:
    """The journal transaction: the events of a segment and the offset behind it."""
    outbox.put_changes(conn, changes, captured_at)
    conn.execute(SQL["journal_put"], journal)
    _count(conn, changes, None)
    crash.reach("journal.writing")


def journals_read(conn: sqlite3.Connection) -> dict[str, sqlite3.Row]:
    """By feed, how far the journal was read that was read last."""
    return {str(row["feed"]): row for row in conn.execute(SQL["journal_all"])}


def journal(conn: sqlite3.Connection, feed: str, file: str) -> sqlite3.Row | None:
    """How far this journal file was read."""
    row: sqlite3.Row | None = conn.execute(SQL["journal_get"], (feed, file)).fetchone()
    return row


def kept_changes(conn: sqlite3.Connection, feed: str) -> list[bytes]:
    """The last believed values of keys whose rows cannot be believed now, as encoded changes."""
    return [bytes(row["change"]) for row in conn.execute(SQL["kept_all"], (feed,))]


def conflicts(conn: sqlite3.Connection, feed: str) -> frozenset[bytes]:
    """Key hashes of which several differing rows stand in the accepted file."""
    return frozenset(bytes(row["key"]) for row in conn.execute(SQL["snapshot_conflicts"], (feed,)))


def forget_half_sent(conn: sqlite3.Connection) -> None:
    """After a restart full states begin again from their first part: what queued behind them is in the copy."""
    outbox.drop_meta(conn, outbox.FULL_COPY)
    for row in conn.execute(SQL["feed_all"]).fetchall():
        if row["full"]:
            conn.execute(SQL["feed_full_again"], (row["name"],))
            conn.execute(SQL["change_drop_state"], (row["name"],))


def clear_staged(conn: sqlite3.Connection, feed: str) -> None:
    """Empty the staging table before a file is read in full."""
    conn.execute(SQL["staged_clear"], (feed,))


def stage_rows(conn: sqlite3.Connection, feed: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Add (key hash, row hash) pairs to the snapshot that is being built."""
    conn.executemany(SQL["staged_add"], [(feed, key, row) for key, row in rows])


def as_of_change(record: Record, as_of: AsOf) -> Record:
    """A count without an as-of of its own gets the observed one."""
    if isinstance(record, StockLevel) and record.as_of is None:
        return msgspec.structs.replace(record, as_of=as_of)
    return record


def as_of(row: sqlite3.Row) -> AsOf | None:
    """The as-of interval of a row of `feed`."""
    if row["as_of_from"] is None:
        return None
    start, end = dt.datetime.fromisoformat(row["as_of_from"]), dt.datetime.fromisoformat(row["as_of_to"])
    return AsOf(start, end, row["as_of_kind"])


class SnapshotView:
    """The snapshot of one feed as `settle_delta` wants it; lookups run on the store's thread."""

    def __init__(self, store: AgentStore, feed: str) -> None:
        self._store, self._feed = store, feed

    def rows(self, key: bytes) -> dict[bytes, int]:
        """Row hash to count for one key hash."""
        return self._store.submit(_snapshot_rows, self._feed, key).result()

    def kept(self, kind: str, key: str) -> Record | None:
        """The last believed record of a key whose row cannot be believed now."""
        return self._store.submit(_kept, self._feed, kind, key).result()


def _snapshot_rows(conn: sqlite3.Connection, feed: str, key: bytes) -> dict[bytes, int]:
    return {bytes(row["row"]): row["n"] for row in conn.execute(SQL["snapshot_rows"], (feed, key))}


def _kept(conn: sqlite3.Connection, feed: str, kind: str, key: str) -> Record | None:
    row = conn.execute(SQL["kept_get"], (feed, kind, key)).fetchone()
    return None if row is None else _RECORD.decode(row["change"]).record


def _known(row: sqlite3.Row) -> Known:
    return Known(
        feed=row["name"], fingerprint=row["fingerprint"], config=row["config"], file=row["file"], sha256=row["sha256"],
        encoding=row["encoding"], columns=tuple(json.loads(row["columns"])), rows=row["rows"],
        counts=tuple(json.loads(row["counts"])), mtime_ns=row["mtime_ns"], accepted_at=row["accepted_at"],
        as_of_to=row["as_of_to"], full=bool(row["full"]), sending=row["full"] == outbox.UNDER_WAY,
    )


def _change(file: Accepted, change: KeyedChange) -> Change:
    source = Source(
        file=file.file, sha256=file.sha256, line=change.row.line if change.row else 0,
        text=change.row.text if change.row else "", captured_at=file.as_of.to,
    )
    record = None if change.record is None else as_of_change(change.record, file.as_of)
    return Change(feed=file.feed, kind=change.kind, key=change.key, op=change.op, record=record, source=source)


def _replace_snapshot(conn: sqlite3.Connection, file: Accepted, delta: DeltaResult) -> None:
    conn.execute(SQL["snapshot_clear"], (file.feed,))
    conn.execute(SQL["staged_swap"], (file.feed,))
    conn.execute(SQL["staged_clear"], (file.feed,))
    if file.absence != "nothing":
        conn.execute("DELETE FROM kept WHERE feed = ?", (file.feed,))
    _keep(conn, file.feed, delta.keep, file.file, file.sha256)


def _update_snapshot(conn: sqlite3.Connection, file: Accepted, delta: DeltaResult, before: Known | None) -> None:
    if delta.replaces:
        conn.execute(SQL["snapshot_clear"], (file.feed,))
        if file.absence != "nothing":
            conn.execute("DELETE FROM kept WHERE feed = ?", (file.feed,))
    for key, row, by in delta.snapshot_updates:
        conn.execute(SQL["snapshot_add"], (file.feed, key, row, by))
        if by < 0:
            conn.execute(SQL["snapshot_trim"], (file.feed, key, row))
    for kind, row_key in delta.unkeep:
        conn.execute(SQL["kept_drop"], (file.feed, kind, row_key))
    _keep(conn, file.feed, delta.keep, before.file if before else "", before.sha256 if before else "")


def _keep(
    conn: sqlite3.Connection, feed: str, keep: Sequence[tuple[str, str, Record]], file: str, sha256: str,
) -> None:
    for kind, row_key, record in keep:
        change = Change(
            feed=feed, kind=kind, key=key_of(record), op="put", record=record, source=Source(file=file, sha256=sha256)
        )
        conn.execute(SQL["kept_put"], (feed, kind, row_key, msgspec.json.encode(change)))


def _keep_absent(
    conn: sqlite3.Connection, file: Accepted, delta: DeltaResult, changes: list[Change], before: Known | None,
) -> list[Change]:
    """Absence means nothing for this feed: what is not in the file any more keeps its last value."""
    absent = [change for change in delta.changes if change.op == "gone" and change.before is not None]
    records = [(change.kind, change.key, change.before) for change in absent if change.before is not None]
    _keep(conn, file.feed, records, before.file if before else "", before.sha256 if before else "")
    present = {(change.kind, change.key) for change in delta.changes if change.op == "put"}
    for kind, key in present:
        conn.execute(SQL["kept_drop"], (file.feed, kind, key))
    return [change for change in changes if change.op == "put"]


def _told_again(conn: sqlite3.Connection, file: Accepted, delta: DeltaResult) -> list[Change]:
    """Values that came back from being kept, put again although unchanged.

    The full state under way is read from the copy before, where such a key may be missing or stand twice.
    """
    named = {(change.kind, change.key) for change in delta.changes}
    again = []
    for kind, row_key in delta.unkeep:
        record = _kept(conn, file.feed, kind, row_key)
        if record is not None and (kind, key_of(record)) not in named:
            again.append(Change(
                feed=file.feed, kind=kind_of(record), key=key_of(record), op="put", record=record,
                source=Source(file=file.file, sha256=file.sha256, captured_at=file.as_of.to),
            ))
    return again


def _count(conn: sqlite3.Connection, changes: Sequence[Change], files: str | None) -> None:
    if files:
        outbox.count(conn, files)
    outbox.count(conn, "changes_captured", len(changes))
    for kind in {change.kind for change in changes}:
        outbox.count(conn, f"changes_{kind}", sum(1 for change in changes if change.kind == kind))
