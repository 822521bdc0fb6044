"""Available pieces: terms that always sum to the number; unknown, absent and zero stay three values."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.server.made import MINUTE, NOW, fact, known, source, stock

from tillbridge_protocol.records import Price
from tillbridge_server.core.availability import (
    BUFFER,
    CLAMP,
    COUNT,
    MOVEMENT,
    RESERVATION,
    Availability,
    Term,
    available,
)
from tillbridge_server.core.facts import Known, Movement, Reservation, meant

PHASES = {"mallow": "stock_and_price", "ennis": "stock_and_price", "naas": "observe"}


def over(what: Known, pool: tuple[str, ...] = ("*",), buffer: str = "0",
         owners: dict[str, tuple[str, ...]] | None = None, moving: tuple[str, ...] = ()) -> Availability:
    """Availability over the three locations."""
    return available(what, pool=pool, phases=PHASES, buffer=Decimal(buffer), owners=owners or {}, moving=moving)


def terms(found: Availability) -> list[tuple[str, str, str]]:
    """Terms as text."""
    return [(term.term, str(term.value), term.location) for term in found.terms]


def states(found: Availability) -> dict[str, str]:
    """State by location."""
    return {place.location: place.state for place in found.places}


def test_count_less_reservation_less_buffer_over_the_pool() -> None:
    """The equation of the explanation, term by term."""
    reserved = [Reservation("mallow", "W-1", 1, Decimal(2)), Reservation("ennis", "W-2", 1, Decimal(1))]
    found = over(known(stock("5"), stock("7", "ennis"), reservations=reserved), buffer="2")
    assert (found.value, found.unclamped) == (Decimal(7), Decimal(7))
    assert terms(found) == [
        (COUNT, "7", "ennis"), (COUNT, "5", "mallow"),
        (RESERVATION, "-1", "ennis"), (RESERVATION, "-2", "mallow"), (BUFFER, "-2", ""),
    ]


def test_unknown_absent_and_zero_are_three_values() -> None:
    """Never listed is unknown and adds no term; no longer listed counts zero by declaration; zero is zero."""
    absent = stock("0", absent="zero")
    assert over(known()).value is None
    assert states(over(known()))["mallow"] == "unknown"
    assert terms(over(known())) == []
    assert over(known(absent)).value == 0
    assert states(over(known(absent)))["mallow"] == "absent"
    assert over(known(absent)).terms[0].rule == "absence_zero v1"
    assert over(known(stock("0"))).value == 0
    assert states(over(known(stock("0"))))["mallow"] == "counted"
    assert over(known(stock("0"))).terms[0].rule is None


def test_counts_below_zero_are_kept_and_only_the_sum_is_clamped() -> None:
    """A minus lowers the sum, stays visible in `unclamped`, and is never shown to shoppers."""
    found = over(known(stock("-2")))
    assert (found.value, found.unclamped) == (Decimal(0), Decimal(-2))
    assert terms(found) == [(COUNT, "-2", "mallow"), (CLAMP, "2", "")]
    both = over(known(stock("-2"), stock("5", "ennis")))
    assert (both.value, both.unclamped) == (Decimal(3), Decimal(3))


def test_observing_and_foreign_locations_are_not_sold_from() -> None:
    """A location that observes, or is not in the pool, adds nothing, and the explanation says so."""
    what = known(stock("5"), stock("7", "ennis"), stock("100", "naas"))
    assert over(what).value == 12
    assert states(over(what)) == {"ennis": "counted", "mallow": "counted", "naas": "observes"}
    assert over(what, pool=("ennis",)).value == 7
    assert states(over(what, pool=("ennis",)))["mallow"] == "outside_pool"
    assert over(what, pool=("naas",)).value is None


def test_reservations_of_locations_outside_the_pool_do_not_count() -> None:
    """What is promised from stock that is not sold here is no concern of this storefront."""
    what = known(stock("5"), reservations=[Reservation("ennis", "W-9", 1, Decimal(4))])
    assert over(what, pool=("mallow",)).value == 5
    assert over(what).value == 1


def test_feeds_of_one_location_agree_or_need_an_owner() -> None:
    """Two feeds that say the same need none; two that differ are a conflict and that location stays unknown."""
    same = known(stock("5"), stock("5.000", feed_name="erp"))
    assert over(same).value == 5
    differ = known(stock("5"), stock("9", feed_name="erp"), stock("1", "ennis"))
    held = over(differ)
    assert held.conflict is not None
    assert held.conflict.values == (("mallow/erp", "9"), ("mallow/stock", "5"))
    assert held.value == 1
    assert over(differ, owners={"stock_level": ("erp", "stock")}).value == 10
    assert over(differ, owners={"stock_level": ("mallow/stock",)}).value == 6


def test_codes_of_one_variant_in_one_feed_add_up() -> None:
    """Two item numbers linked to one variant are two piles of the same thing."""
    assert over(known(stock("2", code="1028"), stock("3", code="1028-OLD"))).value == 5


def test_a_feed_that_only_tells_prices_says_nothing_about_stock() -> None:
    """A price is not a count."""
    assert over(known(fact(Price("1028", Decimal(3), "CHF")))).value is None


def sold(quantity: str, minutes: float, feed_name: str = "journal") -> Movement:
    """A sale line so many minutes after NOW."""
    return Movement("mallow", f"R{minutes}", Decimal(quantity), NOW + minutes * MINUTE, source(feed_name=feed_name))


def test_journals_do_not_move_stock_unless_declared() -> None:
    """By default a sale line is proof and velocity, not a movement."""
    what = known(stock("5"), movements=[sold("1", 5)])
    assert over(what).value == 5
    assert over(what, moving=("journal",)).value == 4
    assert over(what, moving=("mallow/journal",)).value == 4
    assert over(what, moving=("ennis/journal",)).value == 5


def scanned(minutes: float, feed_name: str = "counter") -> Movement:
    """A scan so many minutes after NOW."""
    return Movement("mallow", f"s{minutes}", Decimal(1), NOW + minutes * MINUTE, source(feed_name=feed_name), True)


def test_scans_move_stock_only_where_location_and_scanner_are_named_together() -> None:
    """A scan is a proposal; a bare name may be a journal elsewhere, so it is not enough."""
    what = known(stock("5"), movements=[scanned(5), scanned(6), scanned(-5)])
    assert over(what).value == 5
    assert over(what, moving=("counter",)).value == 5
    assert over(what, moving=("ennis/counter", "mallow/journal")).value == 5
    found = over(what, moving=("mallow/counter",))
    assert found.value == 3
    assert [(str(term.value), term.rule) for term in found.terms if term.term == MOVEMENT] == [
        ("-1", "scanned_out_after_count v1"), ("-1", "scanned_out_after_count v1"),
    ]


def test_only_movements_the_count_cannot_include_are_certain() -> None:
    """Before the count: in it. After: moved. Between: sales lower, returns do not raise, and it says ambiguous."""
    moves = [sold("1", -5), sold("2", -1.5), sold("-4", -1.4), sold("3", 5), sold("-1", 6)]
    found = over(known(stock("10"), movements=moves), moving=("journal",))
    moved = [(str(term.value), term.rule) for term in found.terms if term.term == MOVEMENT]
    assert moved == [
        ("-2", "ambiguous_until_next_count v1"), ("-3", "sold_after_count v1"), ("1", "sold_after_count v1"),
    ]
    assert found.value == 6


def test_a_count_without_as_of_is_not_moved() -> None:
    """Nothing is surely after a count of unknown age."""
    what = known(stock("5", source=source(as_of=None, as_of_kind=None)), movements=[sold("1", 5)])
    assert over(what, moving=("journal",)).value == 5


@pytest.mark.parametrize(("absence", "kind", "record", "absent"), [
    ("nothing", "stock_level", "last", None), ("nothing", "price", "last", None),
    ("zero", "stock_level", "zero", "zero"), ("zero", "price", "last", "zero"),
    ("retire", "stock_level", "zero", "retire"), ("retire", "price", None, "retire"),
])
def test_what_gone_means_is_declared_by_the_feed(
    absence: str, kind: str, record: str | None, absent: str | None
) -> None:
    """Nothing: as last said. Zero: sold out at its last price. Retire: sold out and without a price."""
    last = Price("1028", Decimal(3), "CHF")
    found, why = meant(kind=kind, gone=True, absence=absence, now_said=None, last_said=last, code="1028")
    assert why == absent
    if record == "zero":
        assert found is not None
        assert getattr(found, "on_hand", None) == 0
    else:
        assert found == (last if record == "last" else None)


places = st.sampled_from(["mallow", "ennis", "naas"])
quantities = st.from_regex(r"-?([0-9]{1,4}|[0-9]{20,22})(\.[0-9]{1,6})?", fullmatch=True).map(Decimal)


def exact_sum(terms: Sequence[Term]) -> Fraction:
    """The sum of the terms by other arithmetic than the rule's."""
    return sum((Fraction(term.value) for term in terms), Fraction(0))


@given(
    counts=st.lists(st.tuples(places, quantities), max_size=5),
    reserved=st.lists(st.tuples(places, quantities.map(Decimal.copy_abs)), max_size=4),
    moved=st.lists(st.tuples(quantities, st.floats(-10, 10)), max_size=4),
    buffer=quantities.map(Decimal.copy_abs), pool=st.sampled_from([("*",), ("mallow",), ("naas",), ("ennis", "naas")]),
)
def test_the_terms_sum_to_the_number_whatever_comes(
    counts: list[tuple[str, Decimal]], reserved: list[tuple[str, Decimal]], moved: list[tuple[Decimal, float]],
    buffer: Decimal, pool: tuple[str, ...],
) -> None:
    """The value is never below zero, the terms sum to it, and without the clamp they sum to `unclamped`."""
    what = known(
        *(stock(str(count), place, code=f"c{number}") for number, (place, count) in enumerate(counts)),
        reservations=[Reservation(place, f"W-{n}", 1, amount) for n, (place, amount) in enumerate(reserved)],
        movements=[sold(str(quantity), minutes) for quantity, minutes in moved],
    )
    found = over(what, pool=pool, buffer=str(buffer), moving=("journal",))
    if found.value is None:
        assert (found.unclamped, found.terms) == (None, ())
        return
    assert found.unclamped is not None
    assert exact_sum(found.terms) == found.value == max(found.unclamped, Decimal(0))
    assert exact_sum([term for term in found.terms if term.term != CLAMP]) == found.unclamped
    assert all(source_.location != "naas" for source_ in found.sources)
