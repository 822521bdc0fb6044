"""How a file differs from the last accepted one: by its differing bytes where possible, else by all of its rows."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tillbridge_agent.core.blockcompare import ByteView, RecordTooLong, Removed, compare
from tillbridge_agent.core.delta import (
    DeltaResult,
    Settling,
    Snapshot,
    SnapshotMismatch,
    counts_as_row,
    full_delta,
    key_hash,
    nothing_kept,
    row_hash,
)
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.gate import Reason, RowCounts
from tillbridge_agent.core.limits import PROBLEMS_KEPT_MAX
from tillbridge_agent.core.mapping import RowMapper
from tillbridge_agent.core.rows import Mapped, Problem, Row
from tillbridge_agent.readers import open_reader
from tillbridge_agent.readers.delimited.config import line_safe
from tillbridge_agent.rowstream import Head, RowStream, open_rows, read_head
from tillbridge_agent.store.spill import DiskSpill

#: Called with (key hash, row hash) of every row that counts, so that a first load can be remembered as it streams.
OnRow = Callable[[bytes, bytes], None]
#: A file whose mapping has changed is compared in memory with what it gave before, up to this size; a larger one
#: is judged by its row counts alone.
REMAP_BYTES_MAX = 64 * 1024 * 1024

_WAIT = "Nothing to do while the till is still writing. If it has finished, run the export again."


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """The last accepted file of a feed: its kept copy and what was learned from it.

    `feed` is the configuration it was accepted with, where it is still known; `one_line` is True when it is known
    that every row of it stands on one line.
    """

    path: Path
    sha256: str
    encoding: str
    columns: tuple[str, ...]
    rows: RowCounts
    fingerprint: str
    one_line: bool = False
    feed: FeedConfig | None = None


class Tally:
    """Counts mapped rows and keeps their first problems; `example` is the first row of another location."""

    def __init__(self) -> None:
        self.read = 0
        self.rejected = 0
        self.filtered = 0
        self.unreadable = 0
        self.elsewhere = 0
        self.problems_total = 0
        self.problems: list[Problem] = []
        self.example: Problem | None = None

    def take(self, mapped: Mapped) -> None:
        """One more row."""
        self.read += 1
        if mapped.filtered:
            self.filtered += 1
        elif mapped.problems:
            self._take_problems(mapped)

    def counts(self) -> RowCounts:
        """The rows by what became of them."""
        return RowCounts(self.read, self.read - self.rejected - self.filtered, self.rejected, self.filtered)

    def _take_problems(self, mapped: Mapped) -> None:
        self.rejected += any(problem.effect == "row" for problem in mapped.problems)
        self.unreadable += bool(mapped.failed)
        self.problems_total += len(mapped.problems)
        if len(self.problems) < PROBLEMS_KEPT_MAX:
            self.problems += mapped.problems[: PROBLEMS_KEPT_MAX - len(self.problems)]
        if mapped.problems[0].code == "wrong_location":
            self.elsewhere += 1
            self.example = self.example or mapped.problems[0]


@dataclass
class FileDelta:
    """What was found: `rows` of the whole new file, `new` and `gone` the rows looked at in either file.

    `cut` says why the file counts as half-written; the rest is then of no use. With `full` everything is to be sent.
    """

    delta: DeltaResult = field(default_factory=DeltaResult)
    rows: RowCounts = field(default_factory=RowCounts)
    new: Tally = field(default_factory=Tally)
    gone: Tally = field(default_factory=Tally)
    cut: Reason | None = None
    full: bool = False
    one_line: bool = True
    conflicts: frozenset[str] = frozenset()


def find_delta(
    feed: FeedConfig, file: Path, encoding: str, head: Head, *, old: KnownFile | None, snapshot: Snapshot | None,
    on_row: OnRow | None,
) -> FileDelta:
    """The delta of a readable file whose columns fit. Raises ReadError, OSError."""
    if old is None:
        return _first_load(feed, file, encoding, head, on_row)
    if old.fingerprint != feed.fingerprint:
        return _remapped(feed, file, encoding, head, old, snapshot, on_row)
    if snapshot is None:
        return _in_full(feed, file, encoding, head, old, None)
    if old.columns == head.columns and old.encoding == encoding and line_safe(encoding) and head.body is not None:
        old_head = read_head(old.path, feed.reader, encoding)
        if old_head.body is not None:
            try:
                return _differing(feed, file, encoding, head, old, old_head.body, snapshot)
            except (SnapshotMismatch, RecordTooLong):
                # Reading in full heals the snapshot, or tells which row never ends.
                return _in_full(feed, file, encoding, head, old, snapshot)
    return _side_by_side(feed, file, encoding, head, old, snapshot)


def _first_load(feed: FeedConfig, file: Path, encoding: str, head: Head, on_row: OnRow | None) -> FileDelta:
    """Counts and checks in one stream and keeps no rows; differing duplicates are found where nobody else does."""
    found = FileDelta(full=True)
    stream = RowStream(feed, file, encoding)
    #: Of each key seen, by half its hash: whether any of its rows gave a record.
    keys: dict[bytes, bool] = {}
    twice: set[bytes] = set()
    for mapped in stream:
        found.new.take(mapped)
        if not counts_as_row(mapped):
            continue
        assert mapped.key is not None, "a row that counts has a key"
        hashed = key_hash(mapped.key)
        if on_row is not None:
            on_row(hashed, row_hash(mapped))
        else:
            half = hashed[:8]
            if half in keys:
                twice.add(half)
            keys[half] = bool(mapped.records) or keys.get(half, False)
    _close(found, stream, head, None)
    found.delta.counts.new = sum(keys.values()) if on_row is None else found.rows.accepted
    found.delta.counts.same = 0
    if twice:
        again = (mapped for mapped in open_rows(feed, file, encoding)
                 if mapped.key is not None and key_hash(mapped.key)[:8] in twice)
        settled = full_delta((), again)
        found.delta.problems = settled.problems
        found.conflicts = frozenset(problem.text for problem in settled.problems)
        found.delta.counts.new += settled.counts.new - sum(keys[half] for half in twice)
    return found


def _remapped(
    feed: FeedConfig, file: Path, encoding: str, head: Head, old: KnownFile, snapshot: Snapshot | None,
    on_row: OnRow | None,
) -> FileDelta:
    """A changed mapping: everything is sent again, but the gate sees what would change."""
    found = FileDelta(full=True)
    stream = RowStream(feed, file, encoding)
    rows = _counted(stream, found.new, on_row)
    if old.feed is not None and file.stat().st_size <= REMAP_BYTES_MAX:
        kept = snapshot.kept if snapshot is not None else nothing_kept
        found.delta = full_delta(open_rows(old.feed, old.path, old.encoding), rows, kept)
    else:
        for _ in rows:
            pass
    return _close(found, stream, head, old)


def _in_full(
    feed: FeedConfig, file: Path, encoding: str, head: Head, old: KnownFile, snapshot: Snapshot | None
) -> FileDelta:
    """Every row of both files, exactly; memory grows with the files."""
    found = FileDelta()
    stream = RowStream(feed, file, encoding)
    kept = snapshot.kept if snapshot is not None else nothing_kept
    before = open_rows(feed, old.path, old.encoding)
    found.delta = full_delta(before, _counted(stream, found.new, None), kept)
    return _close(found, stream, head, old)


def _side_by_side(
    feed: FeedConfig, file: Path, encoding: str, head: Head, old: KnownFile, snapshot: Snapshot
) -> FileDelta:
    """Both files row by row: another encoding or column order differs in every byte but seldom in what it says."""
    found = FileDelta()
    stream = RowStream(feed, file, encoding)
    settling = Settling()
    before = open_rows(feed, old.path, old.encoding)
    for gone, added in itertools.zip_longest(before, _counted(stream, found.new, None)):
        if gone is not None:
            settling.removed(gone)
        if added is not None:
            settling.added(added)
    try:
        found.delta = settling.result(snapshot, lambda keys: _rows_of(feed, file, encoding, keys))
    except SnapshotMismatch:
        return _in_full(feed, file, encoding, head, old, snapshot)
    return _close(found, stream, head, old)


def _differing(
    feed: FeedConfig, file: Path, encoding: str, head: Head, old: KnownFile, old_body: int, snapshot: Snapshot
) -> FileDelta:
    """Only the raw rows that differ are read; the work grows with what changed."""
    assert head.body is not None, "asked for by the caller"
    found = FileDelta(one_line=old.one_line)
    mapper = RowMapper(feed, head.columns)
    reader = open_reader(feed.reader, encoding=encoding, columns=head.columns)
    settling = Settling()
    last: tuple[Row, bytes] | None = None
    separator = feed.reader.separator.encode(encoding)
    with old.path.open("rb") as before, file.open("rb") as after, DiskSpill(old.path.parent) as spill:
        for difference in compare(
            _view(before), _view(after), quote=feed.reader.quote.encode(encoding) or None, separator=separator,
            body_old=old_body, body_new=head.body, one_line_old=old.one_line, spill=spill,
            shard=_key_cell(separator, head.columns.index(feed.mapping.key[0])),
        ):
            row = reader.row(difference.slice.line, difference.slice.data)
            mapped = mapper.map(row)
            if isinstance(difference, Removed):
                found.gone.take(mapped)
                settling.removed(mapped)
                continue
            found.new.take(mapped)
            settling.added(mapped)
            found.one_line = found.one_line and "\n" not in row.text and "\r" not in row.text
            if last is None or row.line > last[0].line:
                last = (row, difference.slice.data)
    found.cut = _cut_at_end(file, last, encoding, old, len(head.columns), feed)
    if found.cut is None:
        found.delta = settling.result(snapshot, lambda keys: _rows_of(feed, file, encoding, keys))
    new, gone = found.new.counts(), found.gone.counts()
    found.rows = RowCounts(
        old.rows.read + new.read - gone.read, old.rows.accepted + new.accepted - gone.accepted,
        old.rows.rejected + new.rejected - gone.rejected, old.rows.filtered + new.filtered - gone.filtered,
    )
    return found


def _counted(stream: RowStream, tally: Tally, on_row: OnRow | None) -> Iterator[Mapped]:
    for mapped in stream:
        tally.take(mapped)
        if on_row is not None and counts_as_row(mapped):
            assert mapped.key is not None, "a row that counts has a key"
            on_row(key_hash(mapped.key), row_hash(mapped))
        yield mapped


def _close(found: FileDelta, stream: RowStream, head: Head, old: KnownFile | None) -> FileDelta:
    """What is known once the whole new file was read."""
    found.rows = found.new.counts()
    found.one_line = stream.one_line
    found.cut = cut_reason(stream.last, len(head.columns), ended=stream.ended, cut_off=stream.cut_off)
    if found.cut is None and old is not None and stream.last is not None and not stream.ended:
        found.cut = _habit_broken(old, stream.last.text.encode(old.encoding, "replace"))
    return found


def cut_reason(last: Row | None, width: int, *, ended: bool, cut_off: int) -> Reason | None:
    """Why a file counts as half-written by its own end: inside quotes, or inside its last row."""
    if cut_off:
        return Reason(
            "quote_open", f"The file ends inside a quoted text that begins in line {cut_off}.",
            f"{_WAIT} If quote marks have no meaning in this file, set quote = \"\".",
        )
    if last is None or ended or len(last.cells) >= width:
        return None
    return Reason(
        "half_written", f"The file ends in the middle of line {last.line}: {len(last.cells)} of {width} cells "
        "and no line end.", _WAIT,
    )


def _cut_at_end(
    file: Path, last: tuple[Row, bytes] | None, encoding: str, old: KnownFile, width: int, feed: FeedConfig
) -> Reason | None:
    """Why a file counts as half-written, judged by the last of its rows that the old file does not have."""
    if last is None or _ends_line(file):
        return None
    row, data = last
    raw = data.removesuffix(b"\n")
    if not _tail(file, len(raw)).endswith(raw):
        return None
    reader = open_reader(feed.reader, encoding=encoding, columns=old.columns, first_line=row.line)
    for _ in itertools.chain(reader.feed(raw), reader.finish()):
        pass
    return cut_reason(row, width, ended=False, cut_off=reader.cut_off) or _habit_broken(old, raw)


def _habit_broken(old: KnownFile, raw: bytes) -> Reason | None:
    """A till that ends its last row with a line end, and now does not, may have been cut inside a number."""
    if not _ends_line(old.path) or _tail(old.path, len(raw) + 3).rstrip(b"\r\n\x1a").endswith(raw):
        return None
    return Reason(
        "half_written", "The last row has no line end, but the exports before had one: a number may be cut.", _WAIT,
    )


def _rows_of(feed: FeedConfig, file: Path, encoding: str, keys: frozenset[str]) -> Iterable[Mapped]:
    """All rows of these keys."""
    return (mapped for mapped in open_rows(feed, file, encoding) if mapped.key in keys)


def _view(file: IO[bytes]) -> ByteView:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return ByteView(read, file.seek(0, 2))


def _key_cell(separator: bytes, index: int) -> Callable[[bytes], bytes]:
    """A function from a raw row to its key cell, near enough to bring versions of one row together."""

    def shard(record: bytes) -> bytes:
        cells = record.split(separator, index + 1)
        return cells[index] if index < len(cells) else record

    return shard


def _tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a file, and a DOS end mark where there is one."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(end - size - 1, 0))
        return file.read().rstrip(b"\x1a")


def _ends_line(path: Path) -> bool:
    return _tail(path, 1).endswith((b"\n", b"\r"))
