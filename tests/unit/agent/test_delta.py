"""The rules of the keyed delta, one by one, in words a merchandiser would use."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec
import pytest
from tests.fakes.tables import AT, Mapping, MemorySnapshot, counts_of

from tillbridge_agent.core.delta import (
    DeltaResult,
    KeyedChange,
    Settling,
    SnapshotMismatch,
    equal_records,
    full_delta,
    key_hash,
    row_hash,
    settle_delta,
)
from tillbridge_agent.core.rows import Mapped, Row
from tillbridge_protocol.records import AsOf, Price, SaleLine, StockLevel

PLAIN = Mapping()
KEY_0012 = "c5c4ef7c089b460eacef65eebadd14a2"
ROW_A = "1108631e2c1d3e5067c685212f8f4405"


def rows(*texts: str, mapping: Mapping = PLAIN) -> list[Mapped]:
    """Rows "key;stock;price;title" from line 2 on."""
    return [mapping.map(line, text.encode("latin-1")) for line, text in enumerate(texts, start=2)]


class Feed:
    """A feed that has accepted some rows; `take` settles a later file against it."""

    def __init__(self, *texts: str, mapping: Mapping = PLAIN) -> None:
        self.mapping = mapping
        self.snapshot = MemorySnapshot()
        self.rows = rows(*texts, mapping=mapping)
        self.asked: list[frozenset[str]] = []
        self.snapshot.apply(full_delta([], self.rows))

    def take(self, *texts: str) -> DeltaResult:
        """The delta of the next file; only differing rows are shown to it."""
        new = rows(*texts, mapping=self.mapping)
        before = [mapped.row.text for mapped in self.rows]
        after = [mapped.row.text for mapped in new]
        added = [mapped for mapped in new if mapped.row.text not in before or not _drop(before, mapped.row.text)]
        removed = [mapped for mapped in self.rows if mapped.row.text not in after or not _drop(after, mapped.row.text)]

        def find(keys: frozenset[str]) -> Iterable[Mapped]:
            self.asked.append(keys)
            return [mapped for mapped in new if mapped.key in keys]

        delta = settle_delta(removed, added, self.snapshot, find)
        self.snapshot.apply(delta)
        self.rows = new
        assert self.snapshot.counts == counts_of(new)
        return delta


def _drop(texts: list[str], text: str) -> bool:
    if text in texts:
        texts.remove(text)
        return True
    return False


def told(delta: DeltaResult) -> list[str]:
    """Changes as short text: put A stock_level 3."""
    return [_told(change) for change in delta.changes]


def _told(change: KeyedChange) -> str:
    record = change.record
    value = {StockLevel: "on_hand", Price: "list_price", SaleLine: "quantity"}.get(type(record), "title")
    return f"{change.op} {change.key} {change.kind}" + ("" if record is None else f" {getattr(record, value)}")


def test_a_changed_cell_is_one_change_with_its_evidence() -> None:
    """Only the kind that differs is told, with value before and the row it comes from."""
    delta = Feed("A;1;5", "B;1;5").take("B;1;5", "A;2;5")
    assert told(delta) == ["put A stock_level 2"]
    (change,) = delta.changes
    assert change.before == StockLevel("A", Decimal(1))
    assert change.row == Row(3, "A;2;5", ("A", "2", "5"))
    assert (delta.counts.new, delta.counts.changed, delta.counts.gone) == (0, 1, 0)


def test_one_of_two_equal_rows_gone_is_no_change() -> None:
    """The key is still there."""
    feed = Feed("A;1;5", "A;1;5")
    assert told(feed.take("A;1;5")) == []
    assert told(feed.take()) == ["gone A price", "gone A stock_level"]


def test_other_text_that_means_the_same_is_no_change() -> None:
    """2 and 2.0 are one number; a quoted cell says the same as a plain one."""
    delta = Feed("A;2;5").take('A;2.0;"5"')
    assert told(delta) == []
    assert delta.snapshot_updates == []


def test_two_different_rows_of_one_key_keep_the_last_value() -> None:
    """Nothing is believed, nothing is gone, until one of them is left."""
    feed = Feed("A;1;5", "B;1;1")
    delta = feed.take("A;1;5", "B;1;1", "A;9;5")
    assert told(delta) == []
    assert [(problem.code, problem.line, problem.effect) for problem in delta.problems] == [
        ("duplicate_key", 2, "row"), ("duplicate_key", 4, "row")]
    assert "line 2, 4" in delta.problems[0].message
    assert feed.snapshot.kept("stock_level", "A") == StockLevel("A", Decimal(1))
    assert told(feed.take("A;8;5", "B;1;1", "A;9;5")) == []
    assert told(feed.take("B;1;1", "A;9;5")) == ["put A stock_level 9"]
    assert feed.snapshot.keeping == {}


def test_the_surviving_row_of_a_conflict_is_looked_up_in_the_new_file() -> None:
    """It differs in nothing, so the block compare never showed it."""
    feed = Feed("A;1;5")
    feed.take("A;1;5", "A;7;6")
    delta = feed.take("A;7;6")
    assert feed.asked == [frozenset("A"), frozenset("A")]
    assert delta.rescan == {"A"}
    assert told(delta) == ["put A price 6", "put A stock_level 7"]
    assert {change.row.line for change in delta.changes if change.row} == {2}


def test_no_lookup_without_need() -> None:
    """A scan of the whole file is for duplicates only."""
    feed = Feed("A;1;5", "B;1;5", "C;3;3", "C;3;3")
    feed.take("B;2;5", "D;1;1", "C;3;3")
    assert feed.asked == []


def test_an_unreadable_cell_keeps_the_last_value_of_its_kind() -> None:
    """The other kinds of the row flow on."""
    feed = Feed("A;1;5")
    delta = feed.take("A;x;6")
    assert told(delta) == ["put A price 6"]
    assert delta.keep == [("stock_level", "A", StockLevel("A", Decimal(1)))]
    assert told(feed.take("A;1;6")) == []
    assert feed.snapshot.keeping == {}
    assert told(feed.take("A;x;x")) == []
    assert told(feed.take("A;;x")) == ["gone A stock_level"]
    assert told(feed.take()) == ["gone A price"]
    assert feed.snapshot.keeping == {}


def test_an_unreadable_cell_of_a_new_item_is_nothing_known() -> None:
    """There is no last value to keep, and so nothing to be gone later."""
    feed = Feed()
    assert told(feed.take("A;x;5")) == ["put A price 5"]
    assert feed.snapshot.keeping == {}
    assert told(feed.take()) == ["gone A price"]


def test_filtered_rows_and_rows_without_a_key_do_not_count() -> None:
    """A row taken out by a rule of the feed is gone."""
    feed = Feed("A;1;5", ";1;1", "#A;3;3")
    assert told(feed.take("#A;1;5", ";2;2")) == ["gone A price", "gone A stock_level"]


def test_events_are_put_once_and_never_gone() -> None:
    """A sale stays sold when the till no longer lists it."""
    feed = Feed(mapping=Mapping("events"))
    assert told(feed.take("r1;2;;", "r1;2;;")) == ["put r1 sale_line 2", "put r1 stock_level 2"]
    assert told(feed.take()) == ["gone r1 stock_level"]


def test_two_events_with_one_id_are_both_put() -> None:
    """Both are kept: the server raises the alarm, because only it has seen them all."""
    sale = [SaleLine(id="r1", code="A", quantity=Decimal(n), at=AT) for n in (1, 2)]
    new = [Mapped(Row(2 + n, f"r1;{n}", ()), "r1", (record,), frozenset(), (), False) for n, record in enumerate(sale)]
    delta = settle_delta([], new, MemorySnapshot(), lambda keys: [])
    assert [change.record for change in delta.changes] == sale
    assert delta.problems == []
    assert delta.counts.new == 1


def test_as_of_is_not_compared() -> None:
    """A count seen again later is the same count."""
    seen = StockLevel("A", Decimal(3), AsOf(AT, AT, "data"))
    plain = StockLevel("A", Decimal("3.00"))
    assert equal_records(seen, plain)
    assert row_hash(_mapped(seen)) == row_hash(_mapped(plain))


def _mapped(*records: StockLevel | Price, failed: Iterable[str] = ()) -> Mapped:
    return Mapped(Row(2, "", ()), "A", records, frozenset(failed), (), False)


def test_row_hash_tells_apart_what_must_be_told_apart() -> None:
    """Every field, every kind, and what failed; zero is not unknown."""
    price = Price("A", Decimal(3), "CHF")
    said = [
        _mapped(), _mapped(failed=["price"]), _mapped(price), _mapped(price, failed=["cost"]),
        _mapped(msgspec.structs.replace(price, sale_price=Decimal(0))),
        _mapped(msgspec.structs.replace(price, currency="EUR")),
        _mapped(msgspec.structs.replace(price, list_price=Decimal("3.00000000000000000000000001"))),
        _mapped(msgspec.structs.replace(price, sale_from="2026-01-01")),
        _mapped(msgspec.structs.replace(price, sale_to="2026-01-01")),
        *(_mapped(StockLevel("A", Decimal(count))) for count in (3, 0, -3)),
    ]
    assert len({row_hash(mapped) for mapped in said}) == len(said)
    level = StockLevel("A", Decimal(1))
    assert row_hash(_mapped(price, level)) == row_hash(_mapped(level, price))
    assert row_hash(_mapped(StockLevel("A", Decimal("-0.0")))) == row_hash(_mapped(StockLevel("A", Decimal(0))))
    assert row_hash(_mapped(StockLevel("A", Decimal(100)))) == row_hash(_mapped(StockLevel("A", Decimal("1E+2"))))


def test_hashes_are_the_same_for_ever() -> None:
    """They are stored: another value after an update would make every row look changed."""
    assert key_hash("0012").hex() == KEY_0012
    assert row_hash(_mapped(StockLevel("A", Decimal("2.50")), failed=["price"])).hex() == ROW_A


def test_a_first_load_counts_new_and_reports_conflicts() -> None:
    """Rows of one key that differ are no value at all on a first load."""
    delta = full_delta([], rows("A;1;5", "B;1;1", "B;2;2", "C;3;3", "C;3;3"))
    assert {change.key for change in delta.changes} == {"A", "C"}
    assert len(delta.problems) == 2
    assert (delta.counts.new, delta.counts.same, delta.replaces) == (2, 1, True)
    assert sum(by for _, _, by in delta.snapshot_updates) == 5


def test_a_changed_mapping_tells_what_it_changes() -> None:
    """The same bytes read in another way: price becomes stock, and no price is said any more."""
    texts = ("A;1;5", "B;2;2")
    feed = Feed(*texts)
    delta = full_delta(feed.rows, rows(*texts, mapping=Mapping("moved")), feed.snapshot.kept)
    assert told(delta) == ["gone A price", "gone B price", "put A stock_level 5"]
    feed.snapshot.apply(delta)
    assert feed.snapshot.counts == counts_of(rows(*texts, mapping=Mapping("moved")))


def test_a_full_delta_carries_kept_values_on() -> None:
    """A value kept through a conflict survives a full comparison."""
    feed = Feed("A;1;5")
    feed.take("A;1;5", "A;2;5")
    delta = full_delta(feed.rows, rows("A;3;5", "A;2;5"), feed.snapshot.kept)
    assert told(delta) == []
    assert [(kind, key) for kind, key, _ in delta.keep] == [("price", "A"), ("stock_level", "A")]


def test_a_row_that_moves_to_another_code_takes_its_old_one_away() -> None:
    """Keys and codes may be different columns: the old code is gone, the new one put."""
    def row(code: str) -> Mapped:
        return Mapped(Row(2, code, ()), "1", (StockLevel(code, Decimal(1)),), frozenset(), (), False)
    delta = full_delta([row("X")], [row("Y")])
    assert told(delta) == ["gone X stock_level", "put Y stock_level 1"]


def test_a_snapshot_that_does_not_fit_is_told_not_guessed() -> None:
    """The shell then compares in full."""
    with pytest.raises(SnapshotMismatch, match="than the snapshot counts"):
        settle_delta(rows("A;1;5"), [], MemorySnapshot(), lambda keys: [])
    feed = Feed("A;1;5", "A;2;5")
    with pytest.raises(SnapshotMismatch, match="but not in the new file"):
        settle_delta(rows("A;2;5"), [], feed.snapshot, lambda keys: [])


def test_rows_that_say_the_same_cancel_while_they_stream() -> None:
    """A file whose every row text changes but not its meaning costs no memory."""
    settling = Settling()
    for number in range(1_000):
        settling.removed(PLAIN.map(number, b"%d;2;5" % number))
        settling.added(PLAIN.map(number, b"%d;2.0;5" % number))
        assert len(settling) == 0
    assert settling.result(MemorySnapshot(), lambda keys: []) == DeltaResult()
