"""Judging files one after the other: whatever way the delta is found, it is the difference of what the files say."""

import datetime as dt
import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.fakes.tables import MemorySnapshot, versions

from tillbridge_agent.core.delta import equal_records, row_hash
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.rows import Mapped
from tillbridge_agent.errors import ReadError
from tillbridge_agent.evaluate import Evaluation, KnownFile, evaluate, open_rows, read_segment
from tillbridge_protocol.records import Record, key_of, kind_of

NOW = dt.datetime(2026, 3, 14, 9, 26, tzinfo=dt.UTC)
OPEN_GUARDS = {name: {"share": 1.0, "at_least": 10**9}
               for name in ("rows_lost", "rows_unreadable", "stock_to_zero", "price_drop")}
MAPPING = {
    "key": ["key"], "currency": "CHF", "skip_when": [{"column": "key", "is": ["#"]}],
    "stock_level": {"on_hand": "stock"}, "price": {"list_price": "price"}, "product": {"title": "title"},
}


def feed(**changes: object) -> FeedConfig:
    """The feed of tests/fakes/tables, with parts changed."""
    table = {"name": "tiny", "reader": {"encodings": ["utf-8", "cp1252", "utf-16"]}, "mapping": MAPPING,
             "guards": OPEN_GUARDS}
    return msgspec.convert(table | changes, FeedConfig)


class Watched:
    """A feed whose files are judged one after the other, and the values a receiver of its changes has."""

    def __init__(self, folder: Path, config: FeedConfig | None = None) -> None:
        self.folder = folder
        self.feed = config or feed()
        self.snapshot = MemorySnapshot()
        self.known: KnownFile | None = None
        self.values: dict[tuple[str, str], Record] = {}
        self.number = 0

    def take(self, data: bytes, *, approve: bool = False) -> Evaluation:
        """Judge these bytes as the next version, and apply what the capture would apply; `approve` guards."""
        self.number += 1
        path = self.folder / f"{self.number}.csv"
        path.write_bytes(data)
        found: list[tuple[bytes, bytes]] = []
        result = evaluate(
            self.feed, path, name="TINY.CSV", old=self.known, snapshot=self.snapshot if self.known else None, now=NOW,
            on_row=lambda key, row: found.append((key, row)),
        )
        if approve and result.approvable:
            result = replace(result, verdict="accept")
        if result.verdict != "accept":
            return result
        if result.full:
            self.snapshot = MemorySnapshot()
            for key, row in found:
                self.snapshot.counts[key, row] = self.snapshot.counts.get((key, row), 0) + 1
            self.values = expected(open_rows(self.feed, path, result.encoding or ""), {})
        else:
            self.snapshot.apply(result.delta)
            for change in result.delta.changes:
                if change.record is None:
                    del self.values[change.kind, change.key]
                else:
                    self.values[change.kind, change.key] = change.record
        self.known = result.known_at(path, self.feed)
        return result


def expected(rows: object, before: dict[tuple[str, str], Record]) -> dict[tuple[str, str], Record]:
    """What is known after a file, said without any delta: one content speaks, several or unreadable ones keep."""
    by_key: dict[str, dict[bytes, Mapped]] = {}
    for row in rows:  # type: ignore[attr-defined]
        if row.key is not None and not row.filtered:
            by_key.setdefault(row.key, {})[row_hash(row)] = row
    values: dict[tuple[str, str], Record] = {}
    for key, contents in by_key.items():
        last = {kind: record for (kind, known), record in before.items() if known == key}
        if len(contents) == 1:
            (row,) = contents.values()
            said = {kind_of(record): record for record in row.records}
            said |= {kind: record for kind, record in last.items() if kind in row.failed and kind not in said}
        else:
            said = last
        values |= {(kind, key_of(record)): record for kind, record in said.items()}
    return values


def same(one: dict[tuple[str, str], Record], other: dict[tuple[str, str], Record]) -> bool:
    """Equal keys and equal records, as the outbox compares them."""
    return one.keys() == other.keys() and all(equal_records(record, other[key]) for key, record in one.items())


@pytest.mark.parametrize("seed", range(150))
def test_any_sequence_of_exports(tmp_path: Path, seed: int) -> None:
    """Edited, doubled, moved, shuffled, other line ends: values and counts are those of the last accepted file."""
    watched = Watched(tmp_path)
    values: dict[tuple[str, str], Record] = {}
    for data in versions(random.Random(seed), 8):
        result = watched.take(data, approve=True)
        assert result.verdict in ("accept", "nothing", "pending"), result.reasons
        if result.verdict != "accept":
            continue
        assert watched.known is not None
        values = expected(open_rows(watched.feed, watched.known.path, "utf-8"), {} if result.full else values)
        assert same(watched.values, values)
        alone = evaluate(watched.feed, watched.known.path, name="", old=None, snapshot=None, now=NOW)
        # Without a file before it, a short last row looks cut; after one that had the same row it does not.
        assert result.rows == alone.rows or alone.verdict == "pending"


def table(*rows: str, header: str = "key;stock;price;title") -> str:
    """A file of these rows."""
    return "".join(f"{row}\n" for row in (header, *rows))


ROWS = [f"K{number};{number};1.50;Käse {number}" for number in range(50)]


@pytest.mark.parametrize("other", [
    table(*ROWS).encode("cp1252"), table(*ROWS).encode("utf-8-sig"), table(*ROWS).encode("utf-16"),
    table(*ROWS).replace("\n", "\r\n").encode(), table(*ROWS).replace("\n", "\r").encode(),
    table(*reversed(ROWS)).encode(), table(*ROWS)[:-1].encode(), table(*ROWS).encode() + b"\x1a",
    table(*(f"{row};" for row in ROWS), header="key;stock;price;title;new").encode(),
    table(*(";".join(reversed(row.split(";"))) for row in ROWS), header="title;price;stock;key").encode(),
    table(*(row.replace("1.50", '"1.50"') for row in ROWS)).encode(), table(*(row + " " for row in ROWS)).encode(),
], ids=["cp1252", "byte order mark", "utf-16", "CR LF", "CR", "reversed", "no last line end", "DOS end mark",
        "a new column", "columns reversed", "quoted", "blanks"])
def test_the_same_content_is_no_change(tmp_path: Path, other: bytes) -> None:
    """Another encoding, order, line end or quoting of the same values gives no change in either direction."""
    first = table(*ROWS).encode()
    for versions_ in ((first, other, first), (other, first, other)):
        watched = Watched(tmp_path)
        assert watched.take(versions_[0]).full
        for data in versions_[1:]:
            result = watched.take(data)
            assert (result.verdict, result.full) == ("accept", False)
            assert result.delta.changes == []
            assert result.rows.accepted == len(ROWS)


def test_one_of_two_equal_rows_goes(tmp_path: Path) -> None:
    """The item is still there; it is gone only with its last row."""
    watched = Watched(tmp_path)
    watched.take(table(*ROWS, ROWS[7]).encode())
    assert watched.take(table(*ROWS).encode()).delta.changes == []
    gone = watched.take(table(*ROWS[:7], *ROWS[8:]).encode()).delta.changes
    assert {(change.kind, change.key, change.op) for change in gone} == {
        ("stock_level", "K7", "gone"), ("price", "K7", "gone"), ("product", "K7", "gone"),
    }


def test_work_grows_with_what_changed(tmp_path: Path) -> None:
    """Of a large file only the differing rows are mapped, and each change carries its line and text."""
    rows = [f"K{number};{number};1.50;Name" for number in range(20_000)]
    watched = Watched(tmp_path)
    watched.take(table(*rows).encode())
    rows[12_345] = "K12345;1;1.50;Name"
    result = watched.take(table(*rows).encode())
    (change,) = result.delta.changes
    assert change.row is not None
    assert (change.row.line, change.row.text) == (12_347, "K12345;1;1.50;Name")
    assert result.delta.counts.same is None
    assert result.rows.read == 20_000


def test_a_problem_that_left_the_file_is_cleared(tmp_path: Path) -> None:
    """The quarantine of a row ends when the row is corrected."""
    watched = Watched(tmp_path)
    watched.take(table(*ROWS, "K90;many;1;x").encode())
    result = watched.take(table(*ROWS, "K90;5;1;x").encode())
    assert [problem.code for problem in result.cleared] == ["number_text"]
    assert result.problems == ()


def test_an_unreadable_value_keeps_the_last_one(tmp_path: Path) -> None:
    """A price that cannot be read is no reason to take the item out of the web shop."""
    watched = Watched(tmp_path)
    watched.take(table(*ROWS).encode())
    result = watched.take(table("K0;0;free;Käse 0", *ROWS[1:]).encode())
    assert result.delta.changes == []
    again = watched.take(table("K0;0;1.50;Käse 0", *ROWS[1:]).encode())
    assert again.delta.changes == []


def test_a_changed_mapping_is_a_full_state(tmp_path: Path) -> None:
    """Everything is sent again; what would change is shown and goes through the gate."""
    watched = Watched(tmp_path)
    watched.take(table(*ROWS).encode())
    moved = MAPPING | {"stock_level": {"on_hand": "price"}}
    watched.feed = feed(mapping=moved)
    result = watched.take(table(*ROWS).encode())
    assert (result.verdict, result.full) == ("accept", True)
    assert {change.kind for change in result.delta.changes} == {"stock_level"}
    assert len(watched.snapshot.counts) == len(ROWS)


def test_a_changed_mapping_goes_through_the_gate(tmp_path: Path) -> None:
    """A mapping that would empty the shelves is held like a file that would."""
    watched = Watched(tmp_path, feed(guards={}))
    watched.take(table(*(row.replace(";1.50;", ";0;") for row in ROWS)).encode())
    watched.feed = feed(guards={}, mapping=MAPPING | {"stock_level": {"on_hand": "price"}})
    result = watched.take(table(*(row.replace(";1.50;", ";0;") for row in ROWS)).encode())
    assert (result.verdict, [reason.code for reason in result.reasons]) == ("hold", ["stock_to_zero"])


def test_a_snapshot_that_does_not_fit_is_replaced(tmp_path: Path) -> None:
    """After a repair of the database the files themselves are the truth."""
    watched = Watched(tmp_path)
    watched.take(table(*ROWS).encode())
    watched.snapshot.counts.clear()
    result = watched.take(table("K0;9;1.50;Käse 0", *ROWS[1:]).encode())
    assert result.delta.replaces
    assert [(change.kind, change.key) for change in result.delta.changes] == [("stock_level", "K0")]
    assert len(watched.snapshot.counts) == len(ROWS)


def test_an_absent_item_in_a_partial_feed(tmp_path: Path) -> None:
    """Where absence means nothing, a file of three rows after one of fifty is no loss."""
    watched = Watched(tmp_path, feed(absence="nothing", guards={}))
    watched.take(table(*ROWS).encode())
    assert watched.take(table(*ROWS[:3]).encode()).verdict == "accept"
    held = Watched(tmp_path, feed(guards={}))
    held.take(table(*ROWS).encode())
    assert held.take(table(*ROWS[:3]).encode()).verdict == "hold"


JOURNAL = feed(mapping={
    "key": ["id"], "code": "item", "time_zone": "Europe/Zurich",
    "sale_line": {"quantity": "quantity", "at": "at", "reason": "why"},
})


@pytest.mark.parametrize("size", [1, 5, 17, 64, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_journal_in_any_pieces(size: int, end: str) -> None:
    """Only complete rows are consumed, each once, with their lines, however the journal grows."""
    rows = [f'{number};A{number};1;2026-03-14 09:0{number}:00;"rück{end}gabe; ""gut"""' for number in range(6)]
    data = "".join(f"{row}{end}" for row in ["id;item;quantity;at;why", *rows]).encode()
    position, line, columns, lines, ids = 0, 1, None, [], []
    for stop in [*range(size, len(data), size), len(data)]:
        segment = read_segment(JOURNAL, None, columns, data[position:stop], line)
        position += segment.consumed
        line, columns = segment.next_line, segment.columns or None
        lines += [mapped.row.line for mapped in segment.rows]
        ids += [record.id for mapped in segment.rows for record in mapped.records]  # type: ignore[union-attr]
        assert not segment.problems
    assert ids == [str(number) for number in range(6)]
    assert lines == [2, 4, 6, 8, 10, 12]
    assert position == len(data)


def test_a_torn_last_line_waits() -> None:
    """A line without its end is never consumed."""
    data = b"id;item;quantity;at;why\n1;A;1;2026-03-14 09:00:00;\n2;A;1"
    segment = read_segment(JOURNAL, None, None, data, 1)
    assert (segment.consumed, segment.next_line, len(segment.rows)) == (data.index(b"2;A"), 3, 1)
    rest = read_segment(JOURNAL, segment.encoding, segment.columns, data[segment.consumed:], segment.next_line)
    assert (rest.consumed, rest.next_line, rest.rows) == (0, 3, ())


def test_a_journal_with_holes_is_refused() -> None:
    """NUL bytes where a log was rotated under an open till are told, not skipped."""
    with pytest.raises(ReadError) as refused:
        read_segment(JOURNAL, "utf-8", ("id",), b"1\n\0\0\0\n", 12)
    assert (refused.value.code, refused.value.line) == ("binary", 13)
