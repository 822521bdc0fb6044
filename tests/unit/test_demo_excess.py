"""What the shop window may promise: the settled truth less what was bought, and servers that promise more."""

from decimal import Decimal

from tests.demo.compare import Sight
from tests.demo.excess import Purchase, max_excess
from tests.demo.truth import Value, Write


def value(stock: int) -> Value:
    """What a shopper sees."""
    return Value(Decimal(stock), Decimal("9.95"))


def write(n: int, ended_at: float, **changed: Value) -> Write:
    """An export that took 0.3 s to write."""
    return Write(n, ended_at - 0.3, ended_at, changed)


BASE = {"a": value(9), "b": value(5)}


def excess(sights: list[Sight], writes: list[Write], since: float = 0.0, until: float = 30.0) -> Decimal:
    """Excess with a settle time of half a second."""
    return max_excess(BASE, writes, sights, settle_s=0.5, since=since, until=until)


def test_showing_too_much_is_excess_only_after_settle_and_two_seconds() -> None:
    """a sold from 9 to 6 with the export of 10.0; at 12.5 the shop window must have it."""
    writes = [write(1, 5.0, a=value(9)), write(2, 10.0, a=value(6))]
    assert excess([Sight(4.0, "a", value(9)), Sight(12.45, "a", value(6))], writes) == 0
    assert excess([Sight(4.0, "a", value(9)), Sight(12.7, "a", value(6))], writes) == 3
    assert excess([Sight(4.0, "a", value(9))], writes, until=12.4) == 0


def test_a_newer_complete_export_may_show_more() -> None:
    """After a delivery the shop window is ahead of the settled truth; before its export is complete it may not."""
    writes = [write(1, 5.0, a=value(2)), write(2, 10.0, a=value(20))]
    start = Sight(4.0, "a", value(2))
    assert excess([start, Sight(10.1, "a", value(20))], writes) == 0
    assert excess([start, Sight(9.9, "a", value(20)), Sight(9.96, "a", value(2))], writes) == 18


def test_an_export_that_was_overwritten_before_it_settled_is_never_due() -> None:
    """Nobody could have read it for sure, so the one before stays the measure."""
    writes = [write(1, 5.0, a=value(9)), write(2, 10.0, a=value(1)), write(3, 10.6, a=value(9))]
    assert excess([Sight(4.0, "a", value(9))], writes) == 0


def test_excess_below_is_none_and_an_unknown_variant_counts_whole() -> None:
    """Showing less is no excess; showing what the shop never had is."""
    writes = [write(1, 5.0, a=value(9))]
    assert excess([Sight(4.0, "a", value(0))], writes) == 0
    assert excess([Sight(4.0, "zz", value(4))], writes) == 4


#: 9 pieces are there; 2 are bought at 10.0, sold in the shop a little later, and counted by the export of 15.0.
BOUGHT = Purchase(10.0, "a", Decimal(2), export=3)
WRITES = [write(1, 5.0, a=value(9)), write(2, 11.5, b=value(4)), write(3, 15.0, a=value(7)), write(4, 20.0, b=value(3))]


def promised(*sights: tuple[float, int], purchase: Purchase = BOUGHT, until: float = 30.0) -> Decimal:
    """The excess of a window that showed these pieces of `a` from these moments on."""
    seen = [Sight(at, "a", value(stock)) for at, stock in sights]
    return max_excess(BASE, WRITES, seen, settle_s=0.5, since=0.0, until=until, purchases=[purchase])


def test_a_window_that_lowers_at_once_and_stays_there_promises_nothing_too_much() -> None:
    """The way it should be: the count takes over from the reservation in one step."""
    assert promised((4.0, 9), (10.05, 7)) == 0


def test_a_purchase_may_be_on_its_way_for_two_seconds() -> None:
    """Not longer."""
    assert promised((4.0, 9), (11.95, 7)) == 0
    assert promised((4.0, 9), (12.2, 7)) == 2


def test_a_server_that_never_lowers_is_caught() -> None:
    """It shows 9 until the count comes."""
    assert promised((4.0, 9), (15.7, 7)) == 2


def test_a_server_that_releases_when_the_till_said_yes_is_caught() -> None:
    """Accepted at 11.0, sold at 13.0: neither is in a count, so both are too early."""
    assert promised((4.0, 9), (10.05, 7), (11.0, 9), (15.7, 7)) == 2
    assert promised((4.0, 9), (10.05, 7), (13.0, 9), (15.7, 7)) == 2


def test_a_server_that_releases_with_an_export_that_does_not_count_the_sale_is_caught() -> None:
    """The export of 11.5 is later than the purchase, but the pieces were still on the shelf then."""
    assert promised((4.0, 9), (10.05, 7), (14.2, 9), (15.6, 7)) == 2


def test_a_server_that_releases_late_undersells_and_is_no_excess() -> None:
    """The count and the reservation both taken off for a while."""
    assert promised((4.0, 9), (10.05, 7), (15.6, 5), (21.0, 7)) == 0


def test_what_is_never_counted_stays_reserved() -> None:
    """An order the till refused: until a person has decided, its pieces are nobody else's."""
    refused = Purchase(10.0, "a", Decimal(2))
    assert promised((4.0, 9), (10.05, 7), (15.6, 5), purchase=refused) == 0
    assert promised((4.0, 9), (10.05, 7), (15.6, 5), (21.0, 7), purchase=refused) == 2


def test_more_bought_than_there_is_makes_zero_and_not_less() -> None:
    """A shop that sold the last pieces over the counter owes some; showing none is right all the same."""
    assert promised((4.0, 9), (10.05, 0), purchase=Purchase(10.0, "a", Decimal(30))) == 0


def test_two_purchases_of_one_code_add_up() -> None:
    """Each until its own count."""
    both = [BOUGHT, Purchase(10.5, "a", Decimal(3))]
    seen = [Sight(at, "a", value(stock)) for at, stock in ((4.0, 9), (10.05, 7), (10.6, 4))]
    assert max_excess(BASE, WRITES, seen, settle_s=0.5, since=0.0, until=30.0, purchases=both) == 0
    seen.append(Sight(14.0, "a", value(6)))
    assert max_excess(BASE, WRITES, seen, settle_s=0.5, since=0.0, until=30.0, purchases=both) == 2
