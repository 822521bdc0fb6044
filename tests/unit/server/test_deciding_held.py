"""Deciding with breakers and owners: what is held keeps what is shown, and everything else goes on."""

from collections.abc import Callable
from decimal import Decimal

from tests.unit.server.made import Chain, item, offer_of, open_holds, prices, published, rows_of, stocks, storefront

from tillbridge_protocol.records import Price, Product, StockLevel
from tillbridge_server.core.settings import BreakerLimit, BreakersConfig, DropLimit
from tillbridge_server.store import deciding, publishing, retention
from tillbridge_server.store.tables import hold

# -- breakers ----------------------------------------------------------------------------------------------


def test_a_file_that_zeroes_much_is_held_and_the_rest_goes(shop: Chain) -> None:
    """The hold names location, feed and file; the storefront keeps what it shows; other changes flow."""
    shop.tell(*stocks("0", 1, 2, 3, 4), *stocks("5", 9), file="BAD.CSV")
    decided = shop.settle()
    assert decided.held == 4
    assert decided.queued == (("window", "pos:09"),)
    (held,) = open_holds(shop)
    assert (held.what, held.code, held.place, held.affected) == ("breaker", "to_zero", "mallow/stock", 4)
    assert "BAD.CSV of mallow/stock" in held.message
    assert held.sample[0] == {"variant": "pos:01", "title": "Item 01", "before": "9", "after": "0"}
    row = offer_of(shop, "pos:01")
    assert (row.state, row.value.why, row.value.available) == ("held", ("to_zero",), 0)
    shown = published(shop, "pos:01")
    assert shown is not None
    assert shown.available == 9


def test_ordinary_sales_to_zero_pass(shop: Chain) -> None:
    """Two of ten are not many."""
    shop.tell(*stocks("0", 1, 2))
    assert shop.settle().held == 0
    assert open_holds(shop) == []
    shown = published(shop, "pos:02")
    assert shown is not None
    assert shown.available == 0


def test_a_fall_in_many_prices_is_held_but_stock_goes_on(shop: Chain) -> None:
    """While the price waits, fewer pieces are told at once."""
    shop.tell(*prices("0.10", 1, 2, 3, 4), *stocks("2", 1), *prices("9.00", 9))
    shop.settle()
    (held,) = open_holds(shop)
    assert (held.code, held.affected) == ("price_drop", 4)
    shown = published(shop, "pos:01")
    assert shown is not None
    assert (shown.available, shown.price_now) == (2, Decimal("10.00"))
    other = published(shop, "pos:09")
    assert other is not None
    assert other.price_now == Decimal("9.00")


def test_many_that_would_vanish_are_held_too(shop: Chain) -> None:
    """Without a price they would be hidden: for shoppers that is going to zero."""
    shop.tell_gone("price", "01", "02", "03", "04", absence="retire")
    shop.settle()
    (held,) = open_holds(shop)
    assert (held.code, held.affected) == ("to_zero", 4)
    row = offer_of(shop, "pos:01")
    assert (row.state, row.value.why) == ("held", ("price_unknown", "to_zero"))
    assert published(shop, "pos:01") is not None


def test_a_tripped_hold_is_extended_by_the_same_file(shop: Chain) -> None:
    """Later batches of the file join; another file is judged by itself."""
    shop.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    shop.settle()
    shop.tell(*stocks("0", 5), file="BAD.CSV")
    shop.tell(*stocks("0", 6), file="NEXT.CSV")
    shop.settle()
    (held,) = open_holds(shop)
    assert held.affected == 5
    assert [one["variant"] for one in held.sample] == ["pos:01", "pos:02", "pos:03", "pos:04", "pos:05"]
    shown = published(shop, "pos:06")
    assert shown is not None
    assert shown.available == 0


def test_a_file_in_small_batches_cannot_slip_through(shop: Chain) -> None:
    """What passed before the limit was reached counts."""
    for code in (1, 2, 3, 4):
        shop.tell(*stocks("0", code), file="BAD.CSV")
        shop.settle()
    (held,) = open_holds(shop)
    assert held.affected == 2
    assert [shown.available for code in (1, 2, 3, 4) if (shown := published(shop, f"pos:{code:02}"))] == [0, 0, 9, 9]


def test_a_hold_closes_itself_when_the_facts_come_back(shop: Chain) -> None:
    """The export was right again after an hour: nothing is left to decide."""
    shop.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    shop.settle()
    shop.tell(*stocks("9", 1, 2), file="GOOD.CSV")
    shop.settle()
    (held,) = open_holds(shop)
    assert (held.affected, [one["variant"] for one in held.sample]) == (2, ["pos:03", "pos:04"])
    shop.tell(*stocks("8", 3, 4), file="GOOD.CSV")
    shop.settle()
    assert open_holds(shop) == []
    assert [row.state for row in rows_of(shop, hold)] == ["gone"]
    assert offer_of(shop, "pos:03").state == "live"
    shop.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    shop.settle()
    assert [(row.state, row.affected) for row in rows_of(shop, hold)] == [("gone", 0), ("open", 4)]


def test_a_file_that_was_forgotten_trips_again(shop: Chain) -> None:
    """Its tally is swept after a week and counts from 1 again; the holds it made are kept and stay what they are."""
    for _ in range(2):
        shop.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
        shop.settle()
        shop.tell(*stocks("9", 1, 2, 3, 4), file="GOOD.CSV")
        shop.settle()
        shop.later(days=8)
        with shop.engine.begin() as conn:
            assert retention.sweep(conn, shop.now).tallies > 0
    assert [row.state for row in rows_of(shop, hold)] == ["gone", "gone"]


def test_what_waits_in_the_queue_is_what_a_fall_is_measured_from(chain: Chain) -> None:
    """The storefront is away; nothing must be raised past the breaker behind its back."""
    chain.tell(*(one for n in range(1, 11) for one in item(f"{n:02}", "9")))
    chain.activate()
    chain.decide()
    chain.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    assert chain.decide().held == 4


def test_breakers_can_be_set_for_a_whole_chain(make_chain: Callable[..., Chain]) -> None:
    """The limits are the configuration's."""
    chain = make_chain(storefront(activate="auto"),
                       breakers=BreakersConfig(BreakerLimit(1.0, 1000), DropLimit(0.0, 1, 0.0)))
    chain.add_location()
    chain.tell(*(one for n in range(1, 6) for one in item(f"{n:02}", "9")))
    chain.settle()
    chain.tell(*stocks("0", 1, 2, 3, 4, 5), *prices("9.99", 1))
    chain.settle()
    assert [one.code for one in open_holds(chain)] == ["price_drop"]
    with chain.engine.begin() as conn:
        assert publishing.take_due(conn, "window", chain.now) == []


# -- owners ------------------------------------------------------------------------------------------------


def test_prices_in_conflict_keep_the_published_price_and_ask(shop: Chain) -> None:
    """Stock goes on; the hold names the field and how to settle it; naming the owner closes it."""
    shop.add_location("ennis")
    shop.tell(Price("01", Decimal("12.00"), "CHF"), StockLevel("01", Decimal(1)), where="ennis/stock")
    assert shop.settle().held == 1
    (held,) = open_holds(shop)
    assert (held.what, held.code, held.place, held.affected) == ("conflict", "owner_missing", "window", 1)
    assert "[owners]" in held.hint
    assert held.sample[0]["after"] == "ennis/stock: 12.00 CHF; mallow/stock: 10.00 CHF"
    row = offer_of(shop, "pos:01")
    assert (row.state, row.value.why) == ("held", ("owner_missing",))
    shown = published(shop, "pos:01")
    assert shown is not None
    assert (shown.available, shown.price_now) == (10, Decimal("10.00"))
    owned = Chain(owners={"price": ("ennis/stock",)})
    owned.close()
    shop.rules = owned.rules
    with shop.engine.begin() as conn:
        deciding.notice_rules(conn, shop.rules, shop.now)
    shop.settle()
    assert open_holds(shop) == []
    shown = published(shop, "pos:01")
    assert shown is not None
    assert shown.price_now == Decimal("12.00")


def test_two_conflicts_at_once_keep_both_parts(shop: Chain) -> None:
    """One hold asks about the first; the other part is not made up meanwhile."""
    shop.add_location("ennis")
    shop.tell(*item("01", "1", "12.00"), where="ennis/stock")
    shop.tell(Product("01", title="Another name"), StockLevel("01", Decimal(4)), where="ennis/stock")
    shop.settle()
    shown = published(shop, "pos:01")
    assert shown is not None
    assert (shown.title, shown.price_now, shown.available) == ("Item 01", Decimal("10.00"), 13)
    assert [one.code for one in open_holds(shop)] == ["owner_missing"]


def test_a_conflict_about_something_never_shown_shows_nothing(chain: Chain) -> None:
    """Held with nothing on the web; one hold for the field, however many variants."""
    chain.add_location("ennis")
    for code in ("01", "02"):
        chain.tell(*item(code, "3"))
        chain.tell(*item(code, "3", "11.00"), where="ennis/stock")
    chain.activate()
    assert chain.settle().queued == ()
    (held,) = open_holds(chain)
    assert (held.code, held.affected) == ("owner_missing", 2)
    assert offer_of(chain, "pos:01").state == "held"
