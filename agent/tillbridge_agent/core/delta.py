"""From candidate rows to keyed changes: what is new, changed or gone, with duplicates settled.

The unit is the row key. All rows of one key that are not filtered speak for it together:

* no row left: every kind that was known is gone;
* one content (equal rows count as one): its records are the values; a kind it `failed` to give keeps its
  last value; a known kind it does not give, and did not fail to give, is gone;
* several contents: nothing can be believed. `duplicate_key` is reported and every last value is kept until
  one content is left.

Events (sale lines, scans) are never gone and never kept: each new one is put, and two with one natural id
are both put, because the server keeps both and raises the alarm.

Keys and records: for state kinds, rows with different keys must give records with different keys; the
mapping sees to it. Records compare without `as_of`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tillbridge_agent.core.rowhash import equal_records, key_hash, row_hash
from tillbridge_agent.core.rows import Mapped, Problem, Row
from tillbridge_protocol.records import EVENT_KINDS, STATE_KINDS, Record, key_of, kind_of

__all__ = [
    "Counts", "DeltaResult", "Find", "Kept", "KeyedChange", "Settling", "Snapshot", "SnapshotMismatch",
    "counts_as_row", "equal_records", "full_delta", "key_hash", "nothing_kept", "row_hash", "settle_delta",
]


class SnapshotMismatch(Exception):
    """The snapshot does not count what the old copy holds; `full_delta` over both copies heals it."""

    hint = "Compare the kept copy and the new file in full and replace the feed's snapshot."


class Snapshot(Protocol):
    """What the store remembers of the last accepted state of one feed."""

    def rows(self, key: bytes) -> dict[bytes, int]:
        """Row hash to count (≥ 1) of the rows of one key hash; empty when there is none."""

    def kept(self, kind: str, key: str) -> Record | None:
        """The last good record of a state kind whose rows are now unreadable or in conflict, by row key."""


@dataclass(frozen=True, slots=True)
class KeyedChange:
    """One difference: `key` is the record's key, `before` the last known record, `row` the row of the new file.

    `gone` has neither record nor row. Events have no `before`.
    """

    kind: str
    key: str
    op: Literal["put", "gone"]
    record: Record | None
    before: Record | None
    row: Row | None


@dataclass(slots=True)
class Counts:
    """Row keys by what happened to them; `same` is None when only differing rows were seen."""

    new: int = 0
    changed: int = 0
    gone: int = 0
    same: int | None = None


@dataclass(slots=True)
class DeltaResult:
    """What to queue and what to remember, to be stored in one transaction.

    `changes` are in file order, gone first. `snapshot_updates` are (key hash, row hash, count to add). `keep`
    and `unkeep` name kept records by (kind, row key). With `replaces`, snapshot and kept records of the feed
    are emptied first. `rescan` are the keys whose surviving rows had to be looked up in the new copy.
    """

    changes: list[KeyedChange] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    snapshot_updates: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    keep: list[tuple[str, str, Record]] = field(default_factory=list)
    unkeep: list[tuple[str, str]] = field(default_factory=list)
    rescan: set[str] = field(default_factory=set)
    replaces: bool = False


Find = Callable[[frozenset[str]], Iterable[Mapped]]
Kept = Callable[[str, str], Record | None]


def counts_as_row(mapped: Mapped) -> bool:
    """Whether the snapshot counts this row: it has a key and is not filtered."""
    return mapped.key is not None and not mapped.filtered


class _Key:
    """The rows seen of one key: how their counts moved, and one row of each content as evidence."""

    __slots__ = ("before", "moved", "now")

    def __init__(self) -> None:
        self.moved: dict[bytes, int] = {}
        self.before: dict[bytes, Mapped] = {}
        self.now: dict[bytes, Mapped] = {}

    def count(self, content: bytes, by: int) -> None:
        left = self.moved.get(content, 0) + by
        if left:
            self.moved[content] = left
        else:
            self.moved.pop(content, None)


class Settling:
    """Collects removed and added rows one by one; rows that say the same cancel at once.

    Give removed and added rows of one key close together where possible: memory holds what has not cancelled.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def __len__(self) -> int:
        """How many keys have rows that have not cancelled."""
        return len(self._keys)

    def removed(self, mapped: Mapped) -> None:
        """A row of the old file."""
        self._take(mapped, -1)

    def added(self, mapped: Mapped) -> None:
        """A row of the new file."""
        self._take(mapped, 1)

    def _take(self, mapped: Mapped, by: int) -> None:
        if mapped.key is None or mapped.filtered:
            return
        seen = self._keys.setdefault(mapped.key, _Key())
        content = row_hash(mapped)
        seen.count(content, by)
        _first(seen.now if by > 0 else seen.before, content, mapped)
        if not seen.moved:
            del self._keys[mapped.key]

    def result(self, snapshot: Snapshot, find: Find) -> DeltaResult:
        """Settle against the snapshot; `find` scans the new copy for all rows of some keys, at most once.

        Raises SnapshotMismatch when the snapshot and the copies do not fit together.
        """
        delta = DeltaResult()
        states: list[tuple[str, _State]] = []
        for key, seen in self._keys.items():
            states.append((key, _State(key, seen, snapshot.rows(key_hash(key)))))
        delta.rescan = {key for key, state in states if state.lacks_rows()}
        if delta.rescan:
            for mapped in find(frozenset(delta.rescan)):
                if mapped.key in delta.rescan and not mapped.filtered:
                    _first(self._keys[mapped.key].now, row_hash(mapped), mapped)
        for key, state in states:
            if state.lacks_rows():
                raise SnapshotMismatch(f"A row of key {key!r} is in the snapshot but not in the new file.")
            hashed = key_hash(key)
            delta.snapshot_updates += [(hashed, content, by) for content, by in state.seen.moved.items()]
            _decide(state, snapshot.kept, delta)
        return _in_order(delta)


def settle_delta(removed: Iterable[Mapped], added: Iterable[Mapped], snapshot: Snapshot, find: Find) -> DeltaResult:
    """The delta from differing rows only; rows equal in both files may be left out or given on both sides."""
    settling = Settling()
    for mapped in removed:
        settling.removed(mapped)
    for mapped in added:
        settling.added(mapped)
    return settling.result(snapshot, find)


def nothing_kept(kind: str, key: str) -> Record | None:
    """The `kept` of a feed that keeps nothing: a first load."""
    return None


def full_delta(old: Iterable[Mapped], new: Iterable[Mapped], kept: Kept = nothing_kept) -> DeltaResult:
    """The delta from all rows of both files: first load, changed mapping, or a snapshot that does not fit.

    `old` are the rows as they were last believed (old mapping), `kept` the kept records of that state.
    `snapshot_updates` and `keep` are then the whole new snapshot and all kept records (`replaces`).
    """
    delta = DeltaResult(replaces=True)
    keys: dict[str, _Key] = {}
    totals: dict[str, tuple[dict[bytes, int], dict[bytes, int]]] = {}
    for side, rows in ((0, old), (1, new)):
        for mapped in rows:
            if mapped.key is None or mapped.filtered:
                continue
            content = row_hash(mapped)
            seen = keys.setdefault(mapped.key, _Key())
            _first(seen.now if side else seen.before, content, mapped)
            total = totals.setdefault(mapped.key, ({}, {}))[side]
            total[content] = total.get(content, 0) + 1
    delta.counts.same = 0
    for key, seen in keys.items():
        before, now = totals[key]
        for content, count in now.items():
            seen.count(content, count)
            delta.snapshot_updates.append((key_hash(key), content, count))
        for content, count in before.items():
            seen.count(content, -count)
        _decide(_State(key, seen, before), kept, delta)
    return _in_order(delta)


def _first(rows: dict[bytes, Mapped], content: bytes, mapped: Mapped) -> None:
    """Remember the row that stands first in its file, so that the evidence does not depend on the order seen."""
    known = rows.get(content)
    if known is None or mapped.row.line < known.row.line:
        rows[content] = mapped


class _State:
    """One key before and after: contents with their counts, and the rows that show them."""

    __slots__ = ("after", "before", "key", "seen")

    def __init__(self, key: str, seen: _Key, before: dict[bytes, int]) -> None:
        self.key = key
        self.seen = seen
        self.before = before
        after = dict(before)
        for content, by in seen.moved.items():
            after[content] = after.get(content, 0) + by
        if min(after.values(), default=0) < 0:
            raise SnapshotMismatch(f"More rows of key {key!r} left the file than the snapshot counts.")
        self.after = {content: count for content, count in after.items() if count}

    def lacks_rows(self) -> bool:
        """Whether a row is needed that stands in both files and so was not among the differing ones."""
        if self.after.keys() == self.before.keys():
            return False
        if len(self.after) == 1 and self.after.keys() - self.seen.now.keys():
            return True
        return len(self.before) == 1 and self.old_row() is None

    def old_row(self) -> Mapped | None:
        """The row that alone spoke for this key before, as far as seen in either file."""
        (content,) = self.before
        return self.seen.before.get(content) or self.seen.now.get(content)

    def known(self, kept: Kept) -> dict[str, Record]:
        """The values the receiver has of the state kinds."""
        known: dict[str, Record] = {}
        if not self.before:
            return known
        ask: Iterable[str] = sorted(STATE_KINDS)
        if len(self.before) == 1:
            row = self.old_row()
            assert row is not None, "lacks_rows asks for it"
            known = {kind_of(record): record for record in row.records if kind_of(record) in STATE_KINDS}
            ask = sorted((row.failed & STATE_KINDS) - known.keys())
        for kind in ask:
            record = kept(kind, self.key)
            if record is not None:
                known[kind] = record
        return known


def _decide(state: _State, kept: Kept, delta: DeltaResult) -> None:
    """Append what one key changes; see the head of this module for the rules."""
    if state.after.keys() == state.before.keys() and not delta.replaces:
        return
    known = state.known(kept)
    held = {kind for kind in known if len(state.before) > 1 or _not_said(state, kind)}
    changes: list[KeyedChange] = list(_events(state))
    keep: set[str] = set()
    if len(state.after) > 1:
        keep = set(known)
        _report_conflict(state, delta)
    elif state.after:
        (content,) = state.after
        row = state.seen.now[content]
        keep = (known.keys() & row.failed) - {kind_of(record) for record in row.records}
        changes += _puts_and_gones(known, keep, row)
    else:
        changes += [KeyedChange(kind, key_of(record), "gone", None, record, None) for kind, record in known.items()]
    delta.changes += changes
    delta.keep += [(kind, state.key, known[kind]) for kind in sorted(keep if delta.replaces else keep - held)]
    if not delta.replaces:
        delta.unkeep += [(kind, state.key) for kind in sorted(held - keep)]
    _count(state, bool(changes), delta.counts)


def _not_said(state: _State, kind: str) -> bool:
    """Whether the one old row failed to give `kind`, so that its value comes from the kept records."""
    row = state.old_row()
    return row is not None and all(kind_of(record) != kind for record in row.records)


def _puts_and_gones(known: dict[str, Record], keep: set[str], mapped: Mapped) -> Iterator[KeyedChange]:
    """The changes of the state kinds when one content speaks for the key."""
    said = {kind_of(record): record for record in mapped.records if kind_of(record) in STATE_KINDS}
    for kind, before in known.items():
        record = said.get(kind)
        if (record is None and kind not in keep) or (record is not None and key_of(record) != key_of(before)):
            yield KeyedChange(kind, key_of(before), "gone", None, before, None)
    for kind, record in said.items():
        last = known.get(kind)
        if last is not None and key_of(last) != key_of(record):
            last = None
        if last is None or not equal_records(last, record):
            yield KeyedChange(kind, key_of(record), "put", record, last, mapped.row)


def _events(state: _State) -> Iterator[KeyedChange]:
    """A put for every event of a content that was not there before, unless an old row said the same event."""
    old = [record for mapped in state.seen.before.values() for record in mapped.records]
    for content in sorted(state.after.keys() - state.before.keys()):
        mapped = state.seen.now[content]
        for record in mapped.records:
            if kind_of(record) in EVENT_KINDS and not any(equal_records(record, other) for other in old):
                yield KeyedChange(kind_of(record), key_of(record), "put", record, None, mapped.row)
                old.append(record)


def _report_conflict(state: _State, delta: DeltaResult) -> None:
    """One problem for every differing row of this key that was seen; events with one id are the server's alarm."""
    rows = [state.seen.now[content] for content in state.after if content in state.seen.now]
    if not any(row.failed & STATE_KINDS or any(kind_of(r) in STATE_KINDS for r in row.records) for row in rows):
        return
    rows.sort(key=lambda mapped: mapped.row.line)
    lines = ", ".join(str(mapped.row.line) for mapped in rows)
    message = (f"{len(state.after)} rows with the key {state.key!r} say different things (line {lines}); "
               "none of them is believed and the last known values stay.")
    hint = "Correct the rows in the source system so that one is left, or add a column to `mapping.key`."
    for mapped in rows:
        delta.problems.append(Problem(
            line=mapped.row.line, column="", text=state.key, effect="row", code="duplicate_key",
            message=message, hint=hint,
        ))


def _count(state: _State, changes: bool, counts: Counts) -> None:
    if not changes:
        if state.after and counts.same is not None:
            counts.same += 1
    elif not state.before:
        counts.new += 1
    elif not state.after:
        counts.gone += 1
    else:
        counts.changed += 1


def _in_order(delta: DeltaResult) -> DeltaResult:
    """Sort for people and for repeatability: gone by key, then puts as they stand in the file."""
    delta.changes.sort(key=lambda change: (change.row.line if change.row else 0, change.key, change.kind))
    delta.problems.sort(key=lambda problem: (problem.line, problem.text))
    delta.snapshot_updates.sort()
    delta.keep.sort(key=lambda kept: kept[:2])
    delta.unkeep.sort()
    return delta
