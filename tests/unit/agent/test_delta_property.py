"""Tens of thousands of random versions: compare + settle equals a keyed diff that was written to be stupid.

The oracle knows no hashes, counts, windows or snapshots. It reads each file in full and asks, for every kind and
key, what a receiver should hold after it. The broken variants at the end show that the suite would notice.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import pytest
from tests.fakes.tables import Mapping, MemorySnapshot, body_of, counts_of, read_records, versions

from tillbridge_agent.core import blockcompare, leftovers, partition, recordsplit
from tillbridge_agent.core import delta as room
from tillbridge_agent.core.blockcompare import ByteView, Removed, compare
from tillbridge_agent.core.delta import DeltaResult, KeyedChange, Settling, full_delta
from tillbridge_agent.core.rows import Mapped
from tillbridge_protocol.records import EVENT_KINDS, Record, SaleLine, kind_of

VERSIONS = 6
STORIES_A_SEED = 750
SEEDS = range(6)
#: Within this many stories every broken variant must be noticed.
MUTANT_STORIES = 600

Known = dict[tuple[str, str], Record]


@dataclass
class Oracle:
    """What a receiver should hold after each version: latest states, all events ever."""

    known: Known = field(default_factory=dict)
    kept: set[tuple[str, str]] = field(default_factory=set)
    events: set[tuple[str, Decimal]] = field(default_factory=set)

    def read(self, rows: Iterable[Mapped]) -> None:
        """The next version, all rows of it."""
        by_key: dict[str, list[Mapped]] = {}
        for row in rows:
            if row.key and not row.filtered:
                by_key.setdefault(row.key, []).append(row)
        known: Known = {}
        self.kept = set()
        for key, same_key in by_key.items():
            self.events |= {
                _event(record) for row in same_key for record in row.records if kind_of(record) in EVENT_KINDS
            }
            states = same_key[0]
            unclear = any((row.records, row.failed) != (states.records, states.failed) for row in same_key)
            for kind in ("product", "stock_level", "price"):
                said = [record for record in states.records if kind_of(record) == kind]
                if unclear or kind in states.failed:
                    if (kind, key) in self.known:
                        known[kind, key] = self.known[kind, key]
                        self.kept.add((kind, key))
                elif said:
                    known[kind, key] = said[0]
        self.known = known


def _event(record: Record) -> tuple[str, Decimal]:
    assert isinstance(record, SaleLine)
    return record.id, record.quantity


@dataclass
class Story:
    """One feed through several versions: the tested machine beside the oracle."""

    rng: Random
    mapping: Mapping
    oracle: Oracle = field(default_factory=Oracle)
    snapshot: MemorySnapshot = field(default_factory=MemorySnapshot)
    receiver: Known = field(default_factory=dict)
    events: set[tuple[str, Decimal]] = field(default_factory=set)
    file: bytes | None = None
    seen: Counter[str] = field(default_factory=Counter)

    def accept(self, new: bytes) -> None:
        """The next version of the export."""
        change_of_mapping = self.file is not None and self.rng.random() < 0.08
        before = self.mapping.rows(self.file) if self.file is not None else []
        if change_of_mapping:
            self.mapping = Mapping("moved" if self.mapping.variant == "plain" else "plain")
        rows = self.mapping.rows(new)
        if self.file is None or change_of_mapping:
            result = full_delta(before, rows, self.snapshot.kept)
        else:
            result = self.differing(self.file, new, rows)
        self.oracle.read(rows)
        self.check(result, rows)
        self.file = new

    def differing(self, old: bytes, new: bytes, rows: list[Mapped]) -> DeltaResult:
        """Block compare and settle, as a till does it."""
        settling = Settling()
        in_reach = {mapped.row.line: mapped for mapped in rows}
        for difference in compare(
            _view(old), _view(new), quote=b'"', separator=b";", body_old=body_of(old), body_new=body_of(new),
            window=self.rng.choice((2, 8, 32, 64)), leftover_bytes=self.rng.choice((0, 800, 100_000)),
            one_line_old=False, shard=self.rng.choice((None, lambda record: record[:1])),
        ):
            ((_, record),) = read_records(difference.slice.data) or [(0, b"")]
            mapped = self.mapping.map(difference.slice.line, record)
            if isinstance(difference, Removed):
                settling.removed(mapped)
            else:
                assert in_reach[mapped.row.line].row == mapped.row, "the slice is the row on that line"
                settling.added(mapped)

        def find(keys: frozenset[str]) -> Iterable[Mapped]:
            self.seen["rescans"] += 1
            return (mapped for mapped in rows if mapped.key in keys)

        return settling.result(self.snapshot, find)

    def check(self, result: DeltaResult, rows: list[Mapped]) -> None:
        """Every change is needed, has its evidence, and all of them together lead to what the oracle holds."""
        self.snapshot.apply(result)
        lines = {mapped.row.line: mapped for mapped in rows}
        for change in result.changes:
            self.seen[change.op] += 1
            if change.kind in EVENT_KINDS:
                assert change.op == "put"
                assert change.record is not None
                self.events.add(_event(change.record))
            else:
                self.apply(change, lines)
        assert self.receiver == self.oracle.known
        assert self.events == self.oracle.events
        assert self.snapshot.counts == counts_of(rows)
        assert self.snapshot.keeping == {place: self.oracle.known[place] for place in self.oracle.kept}
        for problem in result.problems:
            assert lines[problem.line].key == problem.text
            self.seen["conflicts"] += 1
        self.seen["kept"] += len(self.oracle.kept)
        self.seen["versions"] += 1

    def apply(self, change: KeyedChange, lines: dict[int, Mapped]) -> None:
        """One state change at the receiver."""
        place = change.kind, change.key
        assert self.receiver.get(place) == change.before
        if change.record is None:
            assert change.op == "gone"
            del self.receiver[place]
            return
        assert change.record != change.before, "a change changes something"
        assert change.row is not None
        source = lines[change.row.line]
        assert source.row == change.row
        assert change.record in source.records
        self.receiver[place] = change.record


def _view(data: bytes) -> ByteView:
    return ByteView(lambda at, size: data[at:at + size], len(data))


def tell(seed: int, stories: int) -> Counter[str]:
    """Run stories; a failing one is found again by its number."""
    seen: Counter[str] = Counter()
    for number in range(stories):
        rng = Random(f"{seed}/{number}")
        story = Story(rng, Mapping(rng.choice(("plain", "plain", "moved", "events"))), seen=seen)
        files = []
        try:
            for file in versions(rng, VERSIONS):
                files.append(file)
                story.accept(file)
        except Exception as error:
            error.add_note(f"Story {seed}/{number}: " + " then ".join(map(repr, files)))
            raise
    return seen


@pytest.mark.parametrize("seed", SEEDS)
def test_compare_and_settle_equal_a_naive_keyed_diff(seed: int) -> None:
    """Six seeds of 750 stories of 6 versions: 27,000 cases."""
    seen = tell(seed, STORIES_A_SEED)
    assert seen["versions"] == STORIES_A_SEED * VERSIONS
    assert len(SEEDS) * seen["versions"] >= 20_000
    # A generator that stopped producing these would make this test a quiet one.
    assert min(seen[what] for what in ("put", "gone", "conflicts", "kept", "rescans")) > 100, seen


def _ignore_counts(self: room._Key, content: bytes, by: int) -> None:
    self.moved[content] = by


def _ignore_quotes(self: recordsplit.RecordSplitter, text: bytes, end: int) -> tuple[list[tuple[int, int]], int]:
    return [], end


def _cancel_all(
    self: leftovers.Leftovers, records: list[bytes], lines: list[int], mine: dict[bytes, list[int]],
    other: dict[bytes, list[int]],
) -> None:
    for record, line in zip(records, lines, strict=True):
        if other.pop(record, None) is None:
            mine[record] = [line]


def _believe_the_last(state: room._State, kept: room.Kept, result: DeltaResult) -> None:
    state.after = dict(list(state.after.items())[-1:])
    _DECIDE(state, kept, result)


_DECIDE = room._decide
_SPLIT = recordsplit.last_line_end

MUTANTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "row counts are ignored": (room._Key, "count", _ignore_counts),
    "surviving rows are not looked up": (room._State, "lacks_rows", lambda state: False),
    "kept values are forgotten": (room._State, "known", lambda state, kept: (
        {} if not state.before or state.old_row() is None else
        {kind_of(record): record for record in state.old_row().records if kind_of(record) not in EVENT_KINDS})),
    "one of several rows is believed": (room, "_decide", _believe_the_last),
    "failed kinds are gone": (room, "_puts_and_gones", lambda known, keep, row, plain=room._puts_and_gones: (
        plain(known, set(), row))),
    "events are not told": (room, "_events", lambda state: iter(())),
    "failed kinds are not part of a row": (room, "row_hash", lambda mapped, plain=room.row_hash: plain(
        Mapped(mapped.row, mapped.key, mapped.records, frozenset(), (), False))),
    "leftovers are sets": (leftovers.Leftovers, "_side", _cancel_all),
    "buckets are sets": (partition, "_surplus", lambda mine, other: dict.fromkeys(mine.keys() - other.keys(), 1)),
    "quotes are ignored": (recordsplit.RecordSplitter, "_spans", _ignore_quotes),
    "lines are counted by \\n alone": (recordsplit, "line_count", lambda text, end: text.count(b"\n", 0, end)),
    "the walk counts lines by \\n alone": (blockcompare, "line_count", lambda text, end: text.count(b"\n", 0, end)),
    "a difference is skipped": (blockcompare, "first_difference", lambda one, other: min(len(one), len(other))),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_stories_notice_a_broken_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule is broken once, and a story must fail."""
    place, attribute, broken = MUTANTS[name]
    monkeypatch.setattr(place, attribute, broken)
    with pytest.raises((AssertionError, KeyError, ValueError, room.SnapshotMismatch)):
        tell(0, MUTANT_STORIES)
