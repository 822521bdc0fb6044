"""Capture: from a settled file to queued changes, and what becomes of files that are not believed.

Stage a private copy, judge it, and then one transaction: reference, snapshot, changes (DESIGN §5.1). Files
are worked on one at a time; each ends in exactly one of: accepted, held, quarantined, nothing, pending.
"""

import datetime as dt
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from tillbridge_agent import crash
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.gate import Reason, RowCounts
from tillbridge_agent.errors import Refused
from tillbridge_agent.evaluate import Evaluation, KnownFile, evaluate
from tillbridge_agent.sources.folder import Seen, Staged, drop_copies, stage
from tillbridge_agent.store import captures, outbox, setaside
from tillbridge_agent.store.captures import STAGED_ROWS_MAX, Accepted, Known, SnapshotView
from tillbridge_agent.store.database import AgentStore
from tillbridge_protocol.records import AsOf

log = structlog.get_logger()
R = TypeVar("R")
#: A file from further in the future than clocks differ proves nothing about which of two files is the newer one.
FUTURE_NS = 24 * 3600 * 10**9
#: A cell told in a hold's sample; longer text is cut and ends with an ellipsis.
TOLD_CHARS_MAX = 200
#: A first export without a line end at its end must stand still for so many settle times.
FIRST_LOAD_PATIENCE = 10
#: How long before it was complete a file may have been counted, when nothing is known of the version before.
UNKNOWN_START = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Captured:
    """What became of one file."""

    verdict: str
    changes: int = 0


@dataclass(frozen=True)
class Approval:
    """A person's yes to a held file."""

    hold: str
    by: str
    why: str


@dataclass
class Capture:
    """Works on the files of all feeds, one at a time, on the capture thread; every method blocks."""

    store: AgentStore
    copies: Path
    clock: Callable[[], dt.datetime]
    _doubted: dict[str, str] = field(default_factory=dict)
    _judged: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=100))

    def take(self, feed: FeedConfig, seen: Seen, looked_at: dt.datetime | None, stood_s: float) -> Captured:
        """Stage and judge one settled file.

        `looked_at`: when the version before was last seen; `stood_s`: for how long the file has not changed.
        Raises ChangedWhileReading, OSError; then nothing happened and the file is looked at again.
        """
        known = self._run(captures.known, feed.name)
        if known is not None and self._is_history(seen, known):
            return Captured("nothing")
        done = self._settled(feed, seen, known, looked_at, stood_s)
        if done.verdict != "accept":
            self.tidy()
        return done

    def _settled(
        self, feed: FeedConfig, seen: Seen, known: Known | None, looked_at: dt.datetime | None, stood_s: float,
    ) -> Captured:
        settled_at = self.clock()
        staged = stage(seen, self.copies)
        as_of = _observed(feed, seen, known, looked_at, settled_at)
        if known is not None and known.sha256 == staged.sha256 and known.fingerprint == feed.fingerprint:
            self._run(captures.seen_again, feed.name, seen.name, seen.mtime_ns, as_of)
            crash.reach("seen_again.committed")
            return Captured("nothing")
        # Without an earlier copy nothing is known of this till's habits: the last number of the file may be cut off.
        habits_known = known is not None and (self.copies / known.sha256).exists()
        patient = stood_s >= FIRST_LOAD_PATIENCE * _settle_s(feed)
        doubtful = not habits_known and not patient and not _ends_line(staged.path)
        if doubtful and self._doubted.get(feed.name) == staged.sha256:
            return Captured("pending")
        if not self._may_be_judged(feed, known, staged.sha256):
            return Captured("held")
        return self._judge(feed, staged, seen.name, seen.mtime_ns, as_of, known, None, doubtful)

    def _may_be_judged(self, feed: FeedConfig, known: Known | None, sha256: str) -> bool:
        """Content that waits for a person is judged again, once in this process, when the feed may be another now."""
        state = self._run(setaside.state_of, feed.name, sha256)
        same_feed = known is not None and known.fingerprint == feed.fingerprint
        if state is None or (state == "open" and not same_feed and (feed.name, sha256) not in self._judged):
            self._judged.append((feed.name, sha256))
            return True
        return False

    def approve(self, feed: FeedConfig, hold: dict[str, object], by: str, why: str) -> Captured:
        """Accept the copy of a held file; a person has overruled the guards.

        What cannot be mapped at all stays held: the verdict is then not `accept`. Raises Refused when the hold was
        closed meanwhile, or when its copy is lost.
        """
        known = self._run(captures.known, feed.name)
        mtime_ns = int(str(hold["mtime_ns"]))
        copy = self.copies / str(hold["sha256"])
        if not copy.exists():
            if not self._run(setaside.decide, hold["id"], "gone", by, "the copy is lost", self.clock().isoformat()):
                raise _closed(str(hold["id"]))
            raise Refused(f"The copy of {hold['file']} is lost.", hint="Run the export again; it is judged anew.")
        staged = Staged(str(hold["sha256"]), copy, copy.stat().st_size)
        at = dt.datetime.fromisoformat(str(hold["since"]))
        as_of = AsOf(min(at, _instant(mtime_ns)), at, "observed")
        approval = Approval(str(hold["id"]), by, why)
        return self._judge(feed, staged, str(hold["file"]), mtime_ns, as_of, known, approval)

    def set_aside(self, feed: FeedConfig, seen: Seen, error: Exception) -> None:
        """Quarantine a file that made the agent itself fail: it must not stop the files after it, nor be lost."""
        told = (
            "unexpected", f"{seen.name} made the agent fail: {type(error).__name__}: {error}",
            "The last known state stays. Send us the file and this message; then retry it with the next version.",
        )
        staged = stage(seen, self.copies)
        self._run(_quarantine, feed.name, seen.name, staged.sha256, self.clock().isoformat(), told)

    def _is_history(self, seen: Seen, known: Known) -> bool:
        """Whether another file is older than the one believed."""
        now_ns = int(self.clock().timestamp()) * 10**9
        return seen.name != known.file and seen.mtime_ns < known.mtime_ns <= now_ns + FUTURE_NS

    def tidy(self) -> None:
        """Delete copies that nothing refers to; after each file and at the start."""
        drop_copies(self.copies, self._run(setaside.referenced_copies))

    def _judge(
        self, feed: FeedConfig, staged: Staged, name: str, mtime_ns: int, as_of: AsOf, known: Known | None,
        approval: "Approval | None", doubtful: bool = False,
    ) -> Captured:
        rows = _StagedRows(self.store, feed.name)
        result = evaluate(
            feed, staged.path, name=name, old=self._known_file(known),
            snapshot=SnapshotView(self.store, feed.name) if known else None, now=self.clock(), on_row=rows,
            counts=RowCounts(*known.counts[:4]) if known else None,
        )
        rows.flush()
        at = self.clock().isoformat()
        first = result.reasons[0] if result.reasons else Reason("", "", "")
        told = (first.code, first.message, first.hint)
        verdict = "accept" if approval is not None and result.approvable else result.verdict
        if verdict == "accept" and doubtful:
            self._doubted[feed.name] = staged.sha256
            return Captured("pending")
        if verdict == "accept":
            return self._accept(feed, result, staged, name, mtime_ns, as_of, approval)
        if approval is not None:
            return Captured(verdict)
        if verdict == "hold":
            self._run(_hold, feed.name, name, staged.sha256, mtime_ns, at, told, result)
            crash.reach("hold.committed")
        elif verdict == "quarantine":
            self._run(_quarantine, feed.name, name, staged.sha256, at, told)
            crash.reach("quarantine.committed")
        log.warning(verdict, feed=feed.name, file=name, code=first.code, message=first.message)
        return Captured(verdict)

    def _accept(
        self, feed: FeedConfig, result: Evaluation, staged: Staged, name: str, mtime_ns: int, as_of: AsOf,
        approval: "Approval | None",
    ) -> Captured:
        rows = result.rows
        file = Accepted(
            feed=feed.name, fingerprint=feed.fingerprint, config=msgspec.json.encode(feed).decode(), file=name,
            sha256=staged.sha256, encoding=result.encoding or "", columns=result.columns, rows=rows.accepted,
            counts=(rows.read, rows.accepted, rows.rejected, rows.filtered, int(result.one_line)), bytes=staged.size,
            mtime_ns=mtime_ns, absence=feed.absence, as_of=as_of, captured_at=self.clock().isoformat(),
        )
        changes = self._run(_commit, file, result, approval)
        crash.reach("capture.committed")
        log.info(
            "accepted", feed=feed.name, file=name, rows=rows.read, changes=changes, full=result.full,
            settled_at=as_of.to.isoformat(), captured_at=self.clock().isoformat(), rejected=rows.rejected,
        )
        self.tidy()
        return Captured("accept", changes)

    def _known_file(self, known: Known | None) -> KnownFile | None:
        """The last accepted file, when its copy is still there; a lost copy means a full load."""
        if known is None:
            return None
        path = self.copies / known.sha256
        if not path.exists():
            log.warning("copy lost", feed=known.feed, sha256=known.sha256)
            return None
        read, accepted, rejected, filtered, one_line = known.counts
        return KnownFile(
            path=path, sha256=known.sha256, encoding=known.encoding, columns=known.columns,
            rows=RowCounts(read, accepted, rejected, filtered), fingerprint=known.fingerprint,
            one_line=bool(one_line), feed=msgspec.json.decode(known.config, type=FeedConfig),
        )

    def _run(self, call: Callable[..., R], *args: object, **kwargs: object) -> R:
        return self.store.submit(call, *args, **kwargs).result()


class _StagedRows:
    """Collects (key hash, row hash) pairs of a file read in full and writes them in portions."""

    def __init__(self, store: AgentStore, feed: str) -> None:
        self._store, self._feed = store, feed
        self._rows: list[tuple[bytes, bytes]] = []
        self._begun = False

    def __call__(self, key: bytes, row: bytes) -> None:
        self._rows.append((key, row))
        if len(self._rows) >= STAGED_ROWS_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if not self._begun:
            self._store.submit(captures.clear_staged, self._feed).result()
            self._begun = True
        if self._rows:
            self._store.submit(captures.stage_rows, self._feed, self._rows).result()
            self._rows = []


def _commit(
    conn: sqlite3.Connection, file: Accepted, result: Evaluation, approval: Approval | None,
) -> int:
    if approval is not None and not setaside.decide(
        conn, approval.hold, "approved", approval.by, approval.why, file.captured_at,
    ):
        raise _closed(approval.hold)
    changes = captures.commit(conn, file, result.delta, full=result.full, approved=approval is not None)
    setaside.quarantine_rows(
        conn, feed=file.feed, file=file.file, sha256=file.sha256, since=file.captured_at, problems=result.problems,
        cleared=result.cleared, whole=result.full or result.delta.replaces,
    )
    outbox.count(conn, "rows_read", result.rows.read)
    outbox.count(conn, "rows_rejected", result.rows.rejected)
    return changes


def _hold(
    conn: sqlite3.Connection, feed: str, name: str, sha256: str, mtime_ns: int, at: str, told: tuple[str, str, str],
    result: Evaluation,
) -> None:
    again = setaside.state_of(conn, feed, sha256) == "open"
    sample: list[dict[str, str | None]] = [
        {"kind": one.kind, "key": one.key, "before": _told(one.before), "after": _told(one.record)}
        for one in result.delta.changes[: setaside.SAMPLE_MAX]
    ]
    setaside.hold_file(
        conn, feed=feed, file=name, sha256=sha256, mtime_ns=mtime_ns, since=at, reason=told,
        affected=len(result.delta.changes), sample=sample,
    )
    outbox.count(conn, "files_held", int(not again))


def _quarantine(
    conn: sqlite3.Connection, feed: str, name: str, sha256: str, at: str, told: tuple[str, str, str],
) -> None:
    setaside.quarantine_file(conn, feed=feed, file=name, sha256=sha256, since=at, reason=told)
    outbox.count(conn, "files_quarantined")


def _closed(hold: str) -> Refused:
    return Refused(f"Hold {hold} was closed meanwhile.", hint="Nothing is left to decide.")


def _told(record: object) -> str | None:
    """A record for a person: its amount, or nothing when it is gone."""
    for name in ("on_hand", "list_price", "cost", "title"):
        value = getattr(record, name, None)
        if value is not None:
            text = str(value)
            return text if len(text) <= TOLD_CHARS_MAX else text[: TOLD_CHARS_MAX - 1] + "…"
    return None


def _settle_s(feed: FeedConfig) -> float:
    return feed.source.settle_s if feed.source is not None else 0.0


def _ends_line(path: Path) -> bool:
    """Whether the last row has a line end, in any encoding of one or two bytes; an empty file has."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2))
        tail = file.read().rstrip(b"\x1a")
    return not tail or b"\n" in tail or b"\r" in tail


def _observed(
    feed: FeedConfig, seen: Seen, known: Known | None, looked_at: dt.datetime | None, settled_at: dt.datetime,
) -> AsOf:
    """The count was true between the last look at the old version and now (DESIGN §5.11).

    A new process has not looked yet: then it is since the version before was settled, or, where that is not known
    either, since an hour before the file was complete. Too early is safe, too late would prove what is not counted.
    """
    if looked_at is None and known is not None and known.as_of_to is not None:
        looked_at = dt.datetime.fromisoformat(known.as_of_to)
    start = looked_at if looked_at is not None else _instant(seen.mtime_ns) - UNKNOWN_START
    lead = dt.timedelta(seconds=feed.source.counted_before_s if feed.source is not None else 0.0)
    return AsOf(min(start, settled_at) - lead, settled_at, "observed")


def _instant(mtime_ns: int) -> dt.datetime:
    try:
        return dt.datetime.fromtimestamp(mtime_ns / 1e9, tz=dt.UTC)
    except (OverflowError, OSError, ValueError):
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def prepare_copies(copies: Path) -> None:
    """The folder of staged copies, with nothing half-written in it."""
    copies.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in copies.glob("incoming-*.part"):
        os.unlink(part)
