"""Deciding: dirty variants become offers, holds and queued values in one transaction, the same from the same rows."""

import datetime as dt
from decimal import Decimal

import pytest
import sqlalchemy as sa
from tests.unit.server.made import Chain, item, storefront

from tillbridge_protocol.changes import Change, FeedInfo
from tillbridge_protocol.records import AsOf, Cost, Price, Product, Record, SaleLine, StockLevel
from tillbridge_server.core.offers import Shown, decode_shown
from tillbridge_server.core.settings import BreakerLimit, BreakersConfig, DropLimit
from tillbridge_server.store import deciding, holds, publishing
from tillbridge_server.store.event_writes import append
from tillbridge_server.store.fact_writes import Where, touch
from tillbridge_server.store.facts_reading import read_known
from tillbridge_server.store.offers import OfferRow, read_offers, read_published
from tillbridge_server.store.sold import touch_sold
from tillbridge_server.store.tables import breaker_tally, dirty, hold, numbering_code, offer, publish_task


def offer_of(chain: Chain, variant: str, shop: str = "window") -> OfferRow:
    """The stored offer of a variant."""
    with chain.engine.begin() as conn:
        return read_offers(conn, storefront=shop, variants=[variant])[0]


def published(chain: Chain, variant: str, shop: str = "window") -> Shown | None:
    """What the storefront is known to show."""
    with chain.engine.begin() as conn:
        row = read_published(conn, shop, [variant]).get(variant)
        return row.shown if row else None


def open_holds(chain: Chain) -> list[holds.HoldRow]:
    """Holds that wait for a person."""
    with chain.engine.begin() as conn:
        return holds.read_holds(conn)


def rows_of(chain: Chain, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
    """Everything in a table."""
    with chain.engine.begin() as conn:
        return list(conn.execute(sa.select(table).order_by(*table.primary_key.columns)).all())


def stocks(on_hand: str, *codes: int) -> list[Record]:
    """Counts of these variants."""
    return [StockLevel(f"{code:02}", Decimal(on_hand)) for code in codes]


def prices(amount: str, *codes: int) -> list[Record]:
    """Prices of these variants."""
    return [Price(f"{code:02}", Decimal(amount), "CHF") for code in codes]


# -- the way from a fact to a queued value ----------------------------------------------------------------


def test_new_variants_are_hidden_until_activated_then_queued(chain: Chain) -> None:
    """A fact makes an offer; only a person's activation makes it go to the storefront."""
    chain.tell(*item("01", "3"))
    decided = chain.decide()
    assert (decided.variants, decided.queued, decided.more) == (1, (), False)
    assert offer_of(chain, "pos:01").state == "hidden"
    assert offer_of(chain, "pos:01").value.why == ("not_activated",)
    assert chain.activate() == 1
    assert chain.decide().queued == (("window", "pos:01"),)
    assert chain.publish() == ["pos:01"]
    shown = published(chain, "pos:01")
    assert shown is not None
    assert (shown.available, shown.price_now, shown.title) == (3, Decimal("10.00"), "Item 01")
    assert chain.activate() == 0


def test_storefronts_may_activate_by_themselves() -> None:
    """activate = "auto" shows every variant that has price and stock."""
    chain = Chain(storefront(activate="auto"))
    chain.add_location()
    chain.tell(*item("01", "3"), StockLevel("02", Decimal(4)))
    assert chain.decide().queued == (("window", "pos:01"),)
    assert offer_of(chain, "pos:02").value.why == ("price_unknown",)
    chain.close()


def test_nothing_dirty_decides_nothing(chain: Chain) -> None:
    """An empty decision is no event."""
    assert chain.decide() == deciding.Decided(0, (), 0, more=False)


def test_a_purchase_price_keeps_the_offer_hidden_with_its_stock(chain: Chain) -> None:
    """Cost is never a price, but people see what could be sold."""
    chain.tell(StockLevel("01", Decimal(7)), Cost("01", Decimal(4), "CHF"), Product("01", title="Drill"))
    chain.activate()
    assert chain.decide().queued == ()
    row = offer_of(chain, "pos:01")
    assert (row.state, row.value.why, row.value.available) == ("hidden", ("price_unknown",), 7)
    assert (row.value.list_price, row.value.price_now) == (None, None)


def test_a_value_that_shoppers_already_see_is_not_sent_again(shop: Chain) -> None:
    """A touch without effect, and a new as-of of the same count, end quietly."""
    with shop.engine.begin() as conn:
        touch(conn, ["pos:01"], shop.now)
    before = offer_of(shop, "pos:01")
    shop.later(minutes=5)
    decided = shop.decide()
    assert (decided.variants, decided.queued) == (1, ())
    assert offer_of(shop, "pos:01") == before


def test_a_value_that_waits_is_replaced_by_the_latest(shop: Chain) -> None:
    """At most one per variant, with a version that tells a changed value from a sent one."""
    shop.tell(*stocks("8", 1))
    shop.decide()
    shop.tell(*stocks("7", 1))
    shop.decide()
    (task,) = rows_of(shop, publish_task)
    assert task.version == 2
    shown = decode_shown(task.value)
    assert shown is not None
    assert shown.available == 7


def test_back_to_what_is_published_still_replaces_what_waits(shop: Chain) -> None:
    """The waiting value may be on its way: the old one must follow it."""
    shop.tell(*stocks("8", 1))
    shop.decide()
    shop.tell(*stocks("9", 1))
    assert shop.decide().queued == (("window", "pos:01"),)
    (task,) = rows_of(shop, publish_task)
    assert '"available":"9"' in task.value


def test_what_vanishes_from_sight_is_taken_off(shop: Chain) -> None:
    """One item whose price is gone is hidden in the storefront too."""
    shop.tell_gone("price", "01", absence="retire")
    assert shop.settle().queued == (("window", "pos:01"),)
    assert published(shop, "pos:01") is None
    assert offer_of(shop, "pos:01").value.why == ("price_unknown",)


def test_a_variant_touched_while_deciding_stays_dirty(shop: Chain) -> None:
    """Only the touches that were seen are taken away."""
    with shop.engine.begin() as conn:
        touch(conn, ["pos:01", "pos:02"], shop.now)
        touched: list[str] = []

        def touch_again(*given: object) -> None:
            if "DELETE FROM dirty" in str(given[2]) and not touched:
                touched.append("pos:01")
                touch(conn, touched, shop.now)

        sa.event.listen(conn, "before_cursor_execute", touch_again)
        deciding.decide(conn, shop.rules, shop.now)
    assert touched == ["pos:01"]
    assert [(row.variant_id, row.n) for row in rows_of(shop, dirty)] == [("pos:01", 2)]


def test_the_limit_leaves_the_rest_dirty_oldest_first(chain: Chain) -> None:
    """Many dirty variants are decided in portions, and `more` says that there are."""
    chain.tell(*item("01", "3"), *item("02", "3"))
    chain.later(minutes=1)
    chain.tell(*item("00", "3"))
    first = chain.decide(limit=2)
    assert (first.variants, first.more) == (2, True)
    assert [row.variant_id for row in rows_of(chain, dirty)] == ["pos:00"]
    assert chain.decide(limit=2).more is False


def test_deciding_the_same_rows_gives_the_same_rows() -> None:
    """After a crash the transaction is simply done again, hold ids included."""
    outcomes = []
    for _ in range(2):
        chain = Chain()
        chain.add_location()
        chain.tell(*(one for n in range(1, 11) for one in item(f"{n:02}", "9")))
        chain.activate()
        chain.settle()
        chain.tell(*stocks("0", 1, 2, 3, 4), *prices("1.00", 5, 6, 7, 8))
        chain.decide()
        outcomes.append([rows_of(chain, table) for table in (offer, publish_task, hold, breaker_tally)])
        chain.close()
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][2]) == 2


def test_a_thousand_variants_take_a_handful_of_queries(chain: Chain) -> None:
    """Reading is by set, never by variant."""
    chain.tell(*(one for n in range(1000) for one in item(f"{n:04}", "3")))
    statements: list[str] = []
    sa.event.listen(chain.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    with chain.engine.begin() as conn:
        assert deciding.decide(conn, chain.rules, chain.now).variants == 1000
    assert len(statements) < 40


# -- several storefronts, locations, numberings ------------------------------------------------------------


def test_each_storefront_has_its_own_pool_currency_and_buffer() -> None:
    """One fact, two offers."""
    chain = Chain(storefront(activate="auto"),
                  storefront(id="trade", currency="EUR", pool=("ennis",), buffer=Decimal(2), activate="auto"))
    chain.add_location()
    chain.add_location("ennis")
    chain.tell(StockLevel("01", Decimal(5)), Price("01", Decimal("10.00"), "CHF"))
    chain.tell(StockLevel("01", Decimal(4)), Price("01", Decimal("9.50"), "EUR"), where="ennis/stock")
    chain.settle()
    window, trade = published(chain, "pos:01"), published(chain, "pos:01", "trade")
    assert window is not None
    assert trade is not None
    assert (window.available, window.price_now, window.currency) == (9, Decimal("10.00"), "CHF")
    assert (trade.available, trade.price_now, trade.currency) == (2, Decimal("9.50"), "EUR")
    chain.close()


def test_codes_of_two_numberings_are_one_variant_once_linked(chain: Chain) -> None:
    """Relinking changes who is meant, not what was said."""
    chain.tell(*item("01", "3"))
    chain.tell(StockLevel("A-77", Decimal(4)), where="mallow/warehouse", numbering="erp", file="ERP.CSV")
    with chain.engine.begin() as conn:
        conn.execute(numbering_code.update().where(numbering_code.c.code == "A-77").values(variant_id="pos:01"))
        known = read_known(conn, ["pos:01", "erp:A-77"])
    assert known["pos:01"].codes == ("01", "A-77")
    assert {(fact.feed, fact.code) for fact in known["pos:01"].facts if fact.kind == "stock_level"} == {
        ("stock", "01"), ("warehouse", "A-77")
    }
    assert known["erp:A-77"].facts == ()


def test_a_location_that_observes_offers_nothing(chain: Chain) -> None:
    """Facts, no offers; switched on, the same facts are sold."""
    chain.add_location(phase="observe")
    chain.tell(*item("01", "3"))
    chain.activate()
    chain.decide()
    row = offer_of(chain, "pos:01")
    assert row.value.why == ("price_unknown", "location_observes", "no_stock_known")
    assert row.value.available is None
    chain.add_location(phase="stock_and_price")
    with chain.engine.begin() as conn:
        assert deciding.touch_all(conn, chain.now) == 1
    assert chain.decide().queued == (("window", "pos:01"),)


@pytest.mark.parametrize(("absence", "state", "available", "price"), [
    ("nothing", "live", "9", "10.00"), ("zero", "live", "0", "10.00"), ("retire", "hidden", "0", None),
])
def test_a_row_that_is_gone_means_what_its_feed_declares(
    shop: Chain, absence: str, state: str, available: str, price: str | None
) -> None:
    """As before; sold out at its price; out of the range."""
    for kind in ("stock_level", "price", "product"):
        shop.tell_gone(kind, "01", absence=absence)
    shop.decide()
    row = offer_of(shop, "pos:01")
    assert (row.state, str(row.value.available)) == (state, available)
    assert row.value.price_now == (Decimal(price) if price else None)


def test_a_row_that_comes_back_is_as_if_it_had_never_gone(shop: Chain) -> None:
    """The item that is missing for a day and reappears."""
    for kind in ("stock_level", "price", "product"):
        shop.tell_gone(kind, "01", absence="zero")
    shop.settle()
    shop.tell(*item("01", "9"))
    shop.settle()
    shown = published(shop, "pos:01")
    assert shown is not None
    assert (shown.available, shown.title) == (9, "Item 01")


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


def test_what_waits_in_the_queue_is_what_a_fall_is_measured_from(chain: Chain) -> None:
    """The storefront is away; nothing must be raised past the breaker behind its back."""
    chain.tell(*(one for n in range(1, 11) for one in item(f"{n:02}", "9")))
    chain.activate()
    chain.decide()
    chain.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    assert chain.decide().held == 4


def test_new_rules_and_new_versions_make_everything_dirty(shop: Chain) -> None:
    """At start only a difference makes work."""
    with shop.engine.begin() as conn:
        assert deciding.notice_rules(conn, shop.rules, shop.now) == 10
        assert deciding.notice_rules(conn, shop.rules, shop.now) == 0
        other = Chain(storefront(buffer=Decimal(1)))
        other.close()
        assert deciding.notice_rules(conn, other.rules, shop.now) == 10


def test_a_new_day_makes_variants_with_sales_dirty(shop: Chain) -> None:
    """And only those; at midnight by the storefront's clock the sale price is published."""
    shop.tell(Price("01", Decimal("10.00"), "CHF", Decimal("9.00"), "2026-11-24", "2026-11-24"))
    shop.settle()
    for now, price in (("2026-11-23T22:59:59Z", "10.00"), ("2026-11-23T23:00:00Z", "9.00"),
                       ("2026-11-24T23:00:00Z", "10.00")):
        shop.now = dt.datetime.fromisoformat(now)
        with shop.engine.begin() as conn:
            assert deciding.touch_sales(conn, shop.now) == 1
        shop.settle()
        shown = published(shop, "pos:01")
        assert shown is not None
        assert shown.price_now == Decimal(price)
    with shop.engine.begin() as conn:
        assert deciding.touch_sales(conn, shop.now) == 0


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


def test_reservations_lower_what_is_shown(shop: Chain) -> None:
    """An order promises stock until a count proves it gone."""
    shop.reserve("W-1", "pos:01", "4")
    shop.settle()
    shown = published(shop, "pos:01")
    assert shown is not None
    assert shown.available == 5


def test_breakers_can_be_set_for_a_whole_chain() -> None:
    """The limits are the configuration's."""
    chain = Chain(storefront(activate="auto"),
                  breakers=BreakersConfig(BreakerLimit(1.0, 1000), DropLimit(0.0, 1, 0.0)))
    chain.add_location()
    chain.tell(*(one for n in range(1, 6) for one in item(f"{n:02}", "9")))
    chain.settle()
    chain.tell(*stocks("0", 1, 2, 3, 4, 5), *prices("9.99", 1))
    chain.settle()
    assert [one.code for one in open_holds(chain)] == ["price_drop"]
    with chain.engine.begin() as conn:
        assert publishing.take_due(conn, "window", chain.now) == []
    chain.close()


# -- sales -------------------------------------------------------------------------------------------------


def test_a_sale_line_makes_its_variant_dirty_and_a_moving_journal_lowers_it() -> None:
    """At once, not with the next count; a code nobody lists stays a line of the ledger."""
    chain = Chain(storefront(activate="auto", moving_journals=("mallow/journal",)))
    chain.add_location()
    as_of = AsOf(chain.now - dt.timedelta(minutes=3), chain.now - dt.timedelta(minutes=2), "observed")
    chain.tell(*item("01", "9"), as_of=as_of)
    chain.tell(Product("01", title="Item 01"), where="mallow/journal", absence="nothing")
    chain.settle()
    lines = [SaleLine("88213/1", "01", Decimal(2), chain.now), SaleLine("88213/2", "77", Decimal(1), chain.now)]
    changes = [Change("journal", "sale_line", one.id, "put", one) for one in lines]
    with chain.engine.begin() as conn:
        assert list(append(conn, Where("mallow", "agent-1", chain.now), list(enumerate(changes)))) == []
        assert touch_sold(conn, {"journal": FeedInfo("pos")}, changes, chain.now) == 1
    assert chain.settle().queued == (("window", "pos:01"),)
    shown = published(chain, "pos:01")
    assert shown is not None
    assert shown.available == 7
    chain.close()
