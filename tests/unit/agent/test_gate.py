"""The trust gate: guards as folds, each with its limit tried from both sides."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tillbridge_agent.core.delta import KeyedChange
from tillbridge_agent.core.feed import FeedConfig, Guard
from tillbridge_agent.core.gate import GUARD_CODES, GateFacts, RowCounts, judge, trips
from tillbridge_agent.core.rows import Problem
from tillbridge_protocol.records import Price, Record, StockLevel


def feed(**changes: Any) -> FeedConfig:
    """A feed with the default guards."""
    table = {"name": "stock", "reader": {}, "mapping": {"key": ["A"], "stock_level": {"on_hand": "B"}}}
    return msgspec.convert(table | changes, FeedConfig)


def counts(accepted: int, rejected: int = 0, filtered: int = 0) -> RowCounts:
    """Counts that add up."""
    return RowCounts(accepted + rejected + filtered, accepted, rejected, filtered)


def put(before: Record | None, record: Record | None) -> KeyedChange:
    """A change from one record to another."""
    return KeyedChange("x", "1", "put" if record else "gone", record, before, None)


def stock(before: str, after: str) -> KeyedChange:
    """A stock that changes."""
    return put(StockLevel(code="1", on_hand=Decimal(before)), StockLevel(code="1", on_hand=Decimal(after)))


def price(before: str, after: str, sale: str | None = None, currency: str = "CHF") -> KeyedChange:
    """A price that changes, perhaps to a sale."""
    new = Price(code="1", list_price=Decimal(after), currency=currency, sale_price=Decimal(sale) if sale else None)
    return put(Price(code="1", list_price=Decimal(before), currency="CHF"), new)


def codes(facts: GateFacts, config: FeedConfig | None = None) -> tuple[str, list[str]]:
    """Verdict and reason codes."""
    verdict, reasons = judge(config or feed(), facts)
    assert all(reason.message and reason.hint for reason in reasons)
    return verdict, [reason.code for reason in reasons]


@pytest.mark.parametrize(("touched", "known", "tripped"), [
    (4, 10, False), (5, 10, True), (5, 25, False), (6, 25, True), (20, 100, False), (21, 100, True), (0, 0, False),
])
def test_a_guard_needs_number_and_share(touched: int, known: int, tripped: bool) -> None:
    """At least five and more than a fifth: one of the two is not enough."""
    assert trips(Guard(share=0.2, at_least=5), touched, known) is tripped


@pytest.mark.parametrize(("facts", "answer"), [
    (GateFacts(rows=counts(10)), ("accept", [])),
    (GateFacts(rows=counts(0)), ("nothing", ["no_rows"])),
    (GateFacts(rows=counts(0, filtered=3)), ("nothing", ["no_rows"])),
    (GateFacts(rows=counts(0), known=counts(0, rejected=2)), ("nothing", ["no_rows"])),
    (GateFacts(rows=counts(0), known=counts(1), gone=1), ("hold", ["rows_lost"])),
    (GateFacts(rows=counts(0, filtered=9), known=counts(9), gone=9), ("hold", ["rows_lost"])),
    (GateFacts(rows=counts(80), known=counts(100), gone=20), ("accept", [])),
    (GateFacts(rows=counts(79), known=counts(100), gone=21), ("hold", ["rows_lost"])),
    (GateFacts(rows=counts(100), known=counts(100), gone=60), ("hold", ["rows_lost"])),
    (GateFacts(rows=counts(6), known=counts(10), gone=4), ("accept", [])),
    (GateFacts(rows=counts(79), known=counts(100)), ("hold", ["rows_lost"])),
    (GateFacts(rows=counts(70, rejected=30), unreadable=30), ("accept", [])),
    (GateFacts(rows=counts(69, rejected=31), unreadable=31), ("hold", ["rows_unreadable"])),
    (GateFacts(rows=counts(0, rejected=2), unreadable=2), ("hold", ["rows_unreadable"])),
    (GateFacts(rows=counts(5, rejected=5), known=counts(10), unreadable=5), ("hold", ["rows_lost"])),
])
def test_rows_lost_and_unreadable(facts: GateFacts, answer: tuple[str, list[str]]) -> None:
    """What is held, what is nothing, what is believed."""
    assert codes(facts) == answer


def test_absence_that_means_nothing_loses_no_rows() -> None:
    """A feed of changes only is short by nature."""
    facts = GateFacts(rows=counts(1), known=counts(1000), gone=999)
    assert codes(facts, feed(absence="nothing")) == ("accept", [])
    assert codes(GateFacts(rows=counts(0), known=counts(9)), feed(absence="nothing")) == ("accept", [])


@pytest.mark.parametrize(("change", "counted"), [
    (stock("5", "0"), True), (stock("5", "-1"), True), (stock("0", "-1"), False), (stock("-2", "0"), False),
    (stock("5", "1"), False), (put(None, StockLevel(code="1", on_hand=Decimal(0))), False),
    (put(StockLevel(code="1", on_hand=Decimal(5)), None), False),
])
def test_what_counts_as_falling_to_zero(change: KeyedChange, counted: bool) -> None:
    """Pieces that were there and are not; new items and gone ones are other guards' matter."""
    verdict, found = codes(GateFacts(rows=counts(60), known=counts(60), changes=[change] * 20))
    assert (verdict, found) == (("hold", ["stock_to_zero"]) if counted else ("accept", []))


@pytest.mark.parametrize(("change", "counted"), [
    (price("10", "4.99"), True), (price("10", "5"), False), (price("10", "10", sale="4.99"), True),
    (price("10", "20"), False), (price("10", "1", currency="JPY"), False),
    (put(None, Price(code="1", list_price=Decimal(0), currency="CHF")), False),
])
def test_what_counts_as_a_price_that_falls(change: KeyedChange, counted: bool) -> None:
    """What a shopper would pay, list or sale, falls by more than half; another currency cannot be compared."""
    verdict, found = codes(GateFacts(rows=counts(40), known=counts(40), changes=[change] * 10))
    assert (verdict, found) == (("hold", ["price_drop"]) if counted else ("accept", []))


def test_every_reason_is_told_at_once() -> None:
    """A person decides once, knowing everything."""
    changes = [stock("5", "0")] * 40 + [price("10", "1")] * 40
    facts = GateFacts(rows=counts(50, rejected=40), known=counts(100), unreadable=40, gone=50, changes=changes)
    verdict, found = codes(facts)
    assert verdict == "hold"
    assert set(found) == GUARD_CODES


def test_another_store_comes_before_all_else() -> None:
    """The copied folder of another branch is told as that, not as a loss of rows."""
    example = Problem(3, "Store", "02", "row", "wrong_location", "The row is of “02”; this feed is of “01”.", "Look.")
    facts = GateFacts(rows=counts(0, rejected=5), known=counts(5), elsewhere=5, example=example, gone=5, unreadable=5)
    verdict, reasons = judge(feed(), facts)
    assert (verdict, [reason.code for reason in reasons]) == ("hold", ["wrong_location"])
    assert "5 rows are of another store, the first in line 3" in reasons[0].message


def test_limits_are_those_of_the_feed() -> None:
    """An integrator who knows the shop sets them."""
    facts = GateFacts(rows=counts(50), known=counts(100), gone=50)
    assert codes(facts, feed(guards={"rows_lost": {"share": 0.5, "at_least": 5}})) == ("accept", [])
    assert codes(facts, feed(guards={"rows_lost": {"share": 0.4, "at_least": 51}})) == ("accept", [])
    assert codes(facts, feed(guards={"rows_lost": {"share": 0.4, "at_least": 50}})) == ("hold", ["rows_lost"])
