"""Prices: sale dates by the storefront's clock, both days inclusive; unknown hides and a cost is never a price."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from tests.unit.server.made import NOW, fact, known, price, stock

from tillbridge_protocol.records import Cost
from tillbridge_server.core.facts import Fact
from tillbridge_server.core.pricing import Pricing, Sale, next_day_starts, priced

ZURICH = ZoneInfo("Europe/Zurich")
PHASES = {"mallow": "stock_and_price", "ennis": "stock_and_price", "naas": "observe"}


def of(*facts: Fact, at: dt.datetime = NOW, zone: str = "Europe/Zurich", currency: str = "CHF",
       owners: dict[str, tuple[str, ...]] | None = None) -> Pricing:
    """The pricing of these facts in a storefront of this currency and zone."""
    return priced(known(*facts), phases=PHASES, currency=currency, zone=ZoneInfo(zone), owners=owners or {}, now=at)


def local(text: str, zone: str = "Europe/Zurich") -> dt.datetime:
    """A wall clock time of a zone."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def test_a_list_price_alone_is_the_price() -> None:
    """With its digits as written, and the row it came from."""
    found = of(price("12.90"))
    assert (str(found.price_now), str(found.list_price), found.sale, found.was) == ("12.90", "12.90", None, None)
    assert found.rule == "list_price v1"
    assert found.source is not None


def test_a_running_sale_is_the_price_and_tells_what_it_was() -> None:
    """Open at both ends it simply holds."""
    found = of(price("12.90", sale="9.90"))
    assert (found.price_now, found.was, found.rule) == (Decimal("9.90"), Decimal("12.90"), "sale_price v1")


@pytest.mark.parametrize(("at", "running"), [
    ("2026-11-22T23:59:59", False), ("2026-11-23T00:00:00", True),
    ("2026-11-30T23:59:59", True), ("2026-12-01T00:00:00", False),
])
def test_both_days_of_a_sale_are_inclusive_by_the_shops_clock(at: str, running: bool) -> None:
    """It starts at the first midnight and ends at the last."""
    found = of(price("12.90", sale="9.90", begin="2026-11-23", end="2026-11-30"), at=local(at))
    assert (found.price_now == Decimal("9.90")) is running


def test_the_storefronts_zone_decides_not_the_tills() -> None:
    """At one instant the sale runs in Auckland and not yet in Honolulu."""
    sale = price("12.90", sale="9.90", begin="2026-11-24")
    at = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
    assert of(sale, at=at, zone="Pacific/Auckland").price_now == Decimal("9.90")
    assert of(sale, at=at, zone="Pacific/Honolulu").price_now == Decimal("12.90")


@pytest.mark.parametrize(("zone", "day", "before", "first"), [
    # The clock goes forward at 02:00 and back at 03:00: days of 23 and 25 hours.
    ("Europe/Zurich", "2026-03-29", "2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z"),
    ("Europe/Zurich", "2026-10-25", "2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z"),
    # Midnight does not exist on this day: it begins at 01:00.
    ("America/Havana", "2026-03-08", "2026-03-08T04:59:59Z", "2026-03-08T05:00:00Z"),
])
def test_days_with_a_clock_change_begin_once(zone: str, day: str, before: str, first: str) -> None:
    """A sale begins with the first instant of its day, and `next_day_starts` names that instant."""
    sale = price("12.90", sale="9.90", begin=day, end=day)
    just_before, begins = dt.datetime.fromisoformat(before), dt.datetime.fromisoformat(first)
    assert of(sale, at=just_before, zone=zone).price_now == Decimal("12.90")
    assert of(sale, at=begins, zone=zone).price_now == Decimal("9.90")
    assert next_day_starts([ZoneInfo(zone)], just_before) == begins


def test_the_next_day_is_the_earliest_of_all_zones_and_always_later() -> None:
    """Called at the boundary itself it names the following one."""
    zones = [ZURICH, ZoneInfo("Pacific/Auckland")]
    at = dt.datetime(2026, 11, 23, 11, 0, tzinfo=dt.UTC)  # midnight in Auckland
    assert next_day_starts(zones, at) == dt.datetime(2026, 11, 23, 23, 0, tzinfo=dt.UTC)
    assert next_day_starts([ZURICH], local("2026-11-24T00:00:00")) == local("2026-11-25T00:00:00").astimezone(dt.UTC)
    assert next_day_starts([], at) is None


def test_a_coming_sale_is_told_and_a_past_one_forgotten() -> None:
    """A storefront that schedules sales itself needs the first; nobody needs the second."""
    coming = of(price("12.90", sale="9.90", begin="2026-12-01"))
    assert coming.sale == Sale(Decimal("9.90"), "2026-12-01", None)
    assert (coming.price_now, coming.was) == (Decimal("12.90"), None)
    assert of(price("12.90", sale="9.90", end="2026-11-22")).sale is None


@pytest.mark.parametrize(("sale", "begin", "end"), [
    ("0", None, None), ("-1", None, None), ("12.90", None, None), ("20.00", None, None),
    ("9.90", "23.11.2026", None), ("9.90", "2026-11-30", "2026-11-23"),
])
def test_what_is_no_sale_leaves_the_list_price(sale: str, begin: str | None, end: str | None) -> None:
    """Zero, not lower, unreadable dates, an end before its beginning."""
    found = of(price("12.90", sale=sale, begin=begin, end=end))
    assert (found.price_now, found.sale, found.rule) == (Decimal("12.90"), None, "list_price v1")


def test_a_cost_is_never_a_price() -> None:
    """With nothing but a purchase price the price is unknown."""
    found = of(fact(Cost("1028", Decimal("4.20"), "CHF")), stock("3"))
    assert (found.price_now, found.list_price, found.rule) == (None, None, "no_selling_price")


@pytest.mark.parametrize("list_price", ["0", "0.00", "-5.00"])
def test_a_price_of_nothing_is_unknown(list_price: str) -> None:
    """Legacy systems write 0.00 for "none yet"."""
    found = of(price(list_price))
    assert (found.price_now, found.rule) == (None, "price_not_positive")


def test_another_currency_is_no_price_here() -> None:
    """And does not contradict one in ours."""
    found = of(price("11.50", currency="EUR"))
    assert (found.price_now, found.rule, found.currency) == (None, "currency_differs", "CHF")
    assert found.source is not None
    assert of(price("11.50", currency="EUR"), price("12.90", "ennis")).price_now == Decimal("12.90")


def test_equal_prices_need_no_owner_however_they_are_written() -> None:
    """12.9 and 12.90 agree; the first location by name is quoted."""
    found = of(price("12.90"), price("12.9", "ennis"))
    assert found.conflict is None
    assert found.source is not None
    assert found.source.location == "ennis"


def test_prices_that_differ_need_an_owner() -> None:
    """Without one it is a conflict that quotes both; with one it is settled."""
    both = (price("12.90"), price("13.50", "ennis"), price("14.00", "mallow", "prices"))
    found = of(*both)
    assert (found.price_now, found.rule) == (None, "owner_missing")
    assert found.conflict is not None
    assert found.conflict.values == (
        ("ennis/stock", "13.50 CHF"), ("mallow/prices", "14.00 CHF"), ("mallow/stock", "12.90 CHF")
    )
    assert of(*both, owners={"price": ("prices", "stock")}).price_now == Decimal("14.00")
    assert of(*both, owners={"price": ("ennis/stock",)}).price_now == Decimal("13.50")


def test_a_location_that_observes_sets_no_price() -> None:
    """Its prices are facts, not offers."""
    assert of(price("12.90", "naas")).price_now is None
    assert of(price("12.90", "naas"), price("15.00")).price_now == Decimal("15.00")
