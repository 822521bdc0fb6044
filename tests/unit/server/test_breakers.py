"""Breakers: what changes too much at once waits together, the rest goes; decisions hold for exactly one value."""

from decimal import Decimal

import pytest
from tests.unit.server.made import NOW, known, price, source, stock, storefront, title

from tillbridge_server.core.breakers import (
    Cause,
    HeldItem,
    Judgement,
    Shift,
    Tally,
    judge,
    kept_parts,
    sample_of,
    shifts_of,
)
from tillbridge_server.core.facts import Fact
from tillbridge_server.core.offers import Offer, Shown, make_offer, wanted
from tillbridge_server.core.settings import BreakerLimit, BreakersConfig, DropLimit

LIMITS = BreakersConfig(to_zero=BreakerLimit(0.2, 3), price_drop=DropLimit(0.2, 3, 0.4))
PHASES = {"mallow": "stock_and_price", "ennis": "stock_and_price"}
FILE = Cause("mallow", "stock", "ab", "STOCK.CSV")


def offer(*facts: Fact) -> Offer:
    """The activated offer these facts give."""
    return make_offer(
        known(*facts), storefront=storefront(), phases=PHASES, owners={}, activated=True, now=NOW
    )


def shown(*facts: Fact) -> Shown:
    """What shoppers see of these facts."""
    found = wanted(offer(*facts), None, ())
    assert found is not None
    return found


def found(before: Shown | None, *facts: Fact) -> list[tuple[str, str, str, str]]:
    """(breaker, part, before, after) of the shifts from `before` to these facts."""
    return [(one.breaker, one.part, one.before, one.after) for one in shifts_of(offer(*facts), before, LIMITS)]


BEFORE = shown(stock("5"), price("20.00"))


@pytest.mark.parametrize(("facts", "shift"), [
    ((stock("0"), price("20.00")), ("to_zero", "stock", "5", "0")),
    ((stock("-4"), price("20.00")), ("to_zero", "stock", "5", "0")),
    ((stock("5"),), ("to_zero", "visible", "5", "hidden: price_unknown")),
    ((price("20.00"),), ("to_zero", "visible", "5", "hidden: no_stock_known")),
    ((stock("5"), price("11.99")), ("price_drop", "price", "20.00", "11.99")),
    ((stock("5"), price("20.00", sale="0.20")), ("price_drop", "price", "20.00", "0.20")),
])
def test_dangerous_shifts(facts: tuple[Fact, ...], shift: tuple[str, str, str, str]) -> None:
    """To nothing, out of sight, or down by more than the limit, sale or not."""
    assert found(BEFORE, *facts) == [shift]


@pytest.mark.parametrize("facts", [
    (stock("1"), price("20.00")), (stock("500"), price("2000.00")), (stock("5"), price("12.00")),
    (stock("5"), price("20.00"), title("New")),
])
def test_ordinary_shifts(facts: tuple[Fact, ...]) -> None:
    """Less but not nothing, more, dearer, a fall of exactly the limit."""
    assert found(BEFORE, *facts) == []


def test_nothing_shown_cannot_fall() -> None:
    """A first publication, or one that already shows zero."""
    assert found(None, stock("0"), price("1.00")) == []
    assert found(shown(stock("0"), price("20.00")), stock("0")) == []


def test_both_ways_at_once_are_two_shifts() -> None:
    """Each is judged by its own breaker."""
    assert [one[0] for one in found(BEFORE, stock("0"), price("1.00"))] == ["to_zero", "price_drop"]


def test_the_cause_is_the_file_that_came_last() -> None:
    """What was shown was right before it."""
    late = source("ennis", file="LATE.CSV", sha256="cd", applied_at=NOW.replace(hour=15))
    shifts = shifts_of(offer(stock("0"), stock("0", "ennis", source=late), price("20.00")), BEFORE, LIMITS)
    assert shifts[0].cause == Cause("ennis", "stock", "cd", "LATE.CSV")
    assert shifts[0].cause.where == "ennis/stock"
    assert sample_of(shifts[0]) == {"variant": "pos:1028", "title": None, "before": "5", "after": "0"}


def test_a_conflict_is_a_shift_of_what_could_be_shown_only() -> None:
    """A product nobody activated bothers nobody."""
    facts = (stock("5"), price("20.00"), price("21.00", "ennis"))
    assert [(one[0], one[1]) for one in found(None, *facts)] == [("owner_missing", "price")]
    hidden = make_offer(known(*facts), storefront=storefront(), phases=PHASES, owners={}, activated=False, now=NOW)
    assert shifts_of(hidden, None, LIMITS) == []


def shift(number: int, cause: Cause = FILE, mark: str = "zero", breaker: str = "to_zero") -> Shift:
    """One of many shifts of a file."""
    return Shift(f"v{number}", breaker, "stock", mark, cause, None, "5", "0")


def judged(shifts: list[Shift], shown_now: int = 10, items: dict[tuple[str, str], HeldItem] | None = None,
           tally: Tally | None = None) -> Judgement:
    """The judgement of these shifts where this many offers are shown."""
    return judge(
        shifts, items=items or {}, tallies={("to_zero", FILE.key): tally} if tally else {},
        shown_now={"to_zero": shown_now, "price_drop": shown_now}, limits=LIMITS,
    )


@pytest.mark.parametrize(("count", "shown_now", "held"), [
    (2, 4, 0),     # half of all, but fewer than at_least
    (3, 10, 3),    # 30 %
    (3, 15, 0),    # exactly the share
    (4, 15, 4),    # more than the share
    (3, 0, 3),     # nothing is shown by the time it is counted
])
def test_a_limit_is_reached_by_number_and_share(count: int, shown_now: int, held: int) -> None:
    """Both must be reached; the share must be exceeded."""
    out = judged([shift(n) for n in range(count)], shown_now)
    assert len(out.held) == held
    assert out.tallies["to_zero", FILE].passed == (0 if held else count)


def test_exact_shares_do_not_trip_by_rounding() -> None:
    """0.29 of 100 is 29, not 28.999999999999996."""
    limits = BreakersConfig(to_zero=BreakerLimit(0.29, 1))
    for count, held in ((29, 0), (30, 30)):
        out = judge([shift(n) for n in range(count)], items={}, tallies={}, shown_now={"to_zero": 100}, limits=limits)
        assert len(out.held) == held


def test_each_file_is_judged_by_itself() -> None:
    """A file that zeroes much is held; an ordinary sale from another file goes."""
    other = Cause("ennis", "stock", "cd", "E.CSV")
    out = judged([*(shift(n) for n in range(4)), shift(9, other)])
    assert [one.variant for one in out.held] == ["v0", "v1", "v2", "v3"]
    assert out.tallies["to_zero", other].passed == 1


def test_a_file_in_many_batches_is_counted_over_all_of_them() -> None:
    """What passed before counts, and is no longer among what is shown."""
    out = judged([shift(5)], shown_now=8, tally=Tally(passed=2))
    assert [one.variant for one in out.held] == ["v5"]
    assert judged([shift(5)], shown_now=13, tally=Tally(passed=2)).held == []


def test_a_tripped_file_is_extended_not_doubled() -> None:
    """While its hold is open, whatever else it does joins that hold."""
    out = judged([shift(7)], shown_now=1000, tally=Tally(passed=2, holds=1, hold_id="b-1"))
    assert out.hold_of == {("v7", "to_zero"): "b-1"}
    assert out.tallies == {}


def test_a_waiting_item_stays_in_its_hold_whatever_file_comes() -> None:
    """A trivial change must not let a held fall slip through alone."""
    items = {("v1", "to_zero"): HeldItem("b-1", "old", None)}
    out = judged([shift(1, Cause("mallow", "stock", "next"), "new")], items=items)
    assert out.hold_of == {("v1", "to_zero"): "b-1"}
    assert out.spent == []


def test_an_approved_value_passes_once() -> None:
    """Only that value; its item is spent with it."""
    items = {("v1", "to_zero"): HeldItem("b-1", "zero", "approved")}
    out = judged([shift(1)], items=items)
    assert (out.held, out.rejected, out.spent) == ([], [], [("v1", "to_zero")])
    many = {("v1", "to_zero"): HeldItem("b-1", "another", "approved")}
    out = judged([shift(n) for n in range(4)], items=many)
    assert len(out.held) == 4
    assert out.spent == [("v1", "to_zero")]


def test_a_rejected_value_stays_suppressed_until_another_comes() -> None:
    """The next value is judged afresh."""
    items = {("v1", "to_zero"): HeldItem("b-1", "zero", "rejected")}
    out = judged([shift(1)], shown_now=1000, items=items)
    assert [one.variant for one in out.rejected] == ["v1"]
    assert kept_parts(out.rejected) == {"stock"}
    assert out.spent == []
    assert judged([shift(1, mark="other")], shown_now=1000, items=items).rejected == []


def test_items_whose_facts_came_back_are_spent() -> None:
    """Nothing dangerous is left of them."""
    items = {("v1", "to_zero"): HeldItem("b-1", "zero", None), ("v2", "to_zero"): HeldItem("b-1", "zero", None)}
    out = judged([shift(1)], items=items)
    assert out.spent == [("v2", "to_zero")]


def test_a_conflict_never_passes() -> None:
    """There is no number below which a made-up price would be fine."""
    out = judged([shift(1, Cause(file="price"), breaker="owner_missing")], shown_now=100_000)
    assert len(out.held) == 1


def test_the_order_of_shifts_changes_nothing() -> None:
    """Two servers judge the same."""
    shifts = [shift(n, Cause("mallow", "stock", "ab" if n % 2 else "cd", "S.CSV")) for n in range(9)]
    assert judged(shifts) == judged(shifts[::-1])


def test_settings_refuse_what_is_no_share() -> None:
    """A share is between 0 and 1: 20 instead of 0.2 would switch a breaker off."""
    import msgspec

    for wrong in ({"share": 20, "at_least": 3}, {"share": 0.1, "at_least": 0}, {"share": 0.1}, {"shares": 0.1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, BreakerLimit)
    with pytest.raises(msgspec.ValidationError, match="buffer"):
        msgspec.convert({"id": "w", "title": "W", "connector": "c", "currency": "CHF", "buffer": "-1"},
                        type(storefront()))
    assert msgspec.convert({"share": 0.1, "at_least": 3}, BreakerLimit).share == 0.1
    assert storefront(buffer=Decimal("0.5")).buffer == Decimal("0.5")
