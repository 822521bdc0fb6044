"""Deciding: dirty variants become offers, holds and queued values in one transaction, the same from the same rows."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa
from tests.unit.server.made import Chain, item, offer_of, prices, published, rows_of, stocks, storefront

from tillbridge_protocol.changes import Change, FeedInfo
from tillbridge_protocol.records import AsOf, Cost, Price, Product, SaleLine, Scan, StockLevel
from tillbridge_server.core.offers import decode_shown
from tillbridge_server.store import deciding
from tillbridge_server.store.event_writes import append
from tillbridge_server.store.fact_writes import Where, touch
from tillbridge_server.store.facts_reading import read_known
from tillbridge_server.store.ledger_reading import read_entries
from tillbridge_server.store.offers import count_shown
from tillbridge_server.store.sold import touch_sold
from tillbridge_server.store.tables import breaker_tally, dirty, hold, numbering_code, offer, publish_task

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


def test_storefronts_may_activate_by_themselves(make_chain: Callable[..., Chain]) -> None:
    """activate = "auto" shows every variant that has price and stock."""
    chain = make_chain(storefront(activate="auto"))
    chain.add_location()
    chain.tell(*item("01", "3"), StockLevel("02", Decimal(4)))
    assert chain.decide().queued == (("window", "pos:01"),)
    assert offer_of(chain, "pos:02").value.why == ("price_unknown",)


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
            if "DELETE FROM dirty_touch" in str(given[2]) and not touched:
                touched.append("pos:01")
                touch(conn, touched, shop.now)

        sa.event.listen(conn, "before_cursor_execute", touch_again)
        deciding.decide(conn, shop.rules, shop.now)
    assert touched == ["pos:01"]
    assert [row.variant_id for row in rows_of(shop, dirty)] == ["pos:01"]


def test_the_limit_leaves_the_rest_dirty_oldest_first(chain: Chain) -> None:
    """Many dirty variants are decided in portions, and `more` says that there are."""
    chain.tell(*item("01", "3"), *item("02", "3"))
    chain.later(minutes=1)
    chain.tell(*item("00", "3"))
    first = chain.decide(limit=2)
    assert (first.variants, first.more) == (2, True)
    assert [row.variant_id for row in rows_of(chain, dirty)] == ["pos:00"]
    assert chain.decide(limit=2).more is False


def test_deciding_the_same_rows_gives_the_same_rows(make_chain: Callable[..., Chain]) -> None:
    """After a crash the transaction is simply done again, hold ids included."""
    outcomes = []
    for _ in range(2):
        chain = make_chain()
        chain.add_location()
        chain.tell(*(one for n in range(1, 11) for one in item(f"{n:02}", "9")))
        chain.activate()
        chain.settle()
        chain.tell(*stocks("0", 1, 2, 3, 4), *prices("1.00", 5, 6, 7, 8))
        chain.decide()
        outcomes.append([rows_of(chain, table) for table in (offer, publish_task, hold, breaker_tally)])
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


def test_what_is_shown_is_counted_with_what_waits(shop: Chain) -> None:
    """A limit is a share of this: the waiting value counts, not the published one it replaces."""
    def counts() -> tuple[int, int]:
        with shop.engine.begin() as conn:
            return count_shown(conn, "window", with_stock=False), count_shown(conn, "window", with_stock=True)

    assert counts() == (10, 10)
    shop.tell(*stocks("0", 1), *item("11", "4"), *stocks("5", 3))
    shop.tell_gone("price", "02", absence="retire")
    shop.activate()
    shop.decide()
    assert counts() == (10, 9)
    shop.publish()
    assert counts() == (10, 9)


# -- several storefronts, locations, numberings ------------------------------------------------------------


def test_each_storefront_has_its_own_pool_currency_and_buffer(make_chain: Callable[..., Chain]) -> None:
    """One fact, two offers."""
    chain = make_chain(storefront(activate="auto"),
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
    assert row.value.why == ("location_observes",)
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


def test_reservations_lower_what_is_shown(shop: Chain) -> None:
    """An order promises stock until a count proves it gone."""
    shop.reserve("W-1", "pos:01", "4")
    shop.settle()
    shown = published(shop, "pos:01")
    assert shown is not None
    assert shown.available == 5


# -- sales -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moving", "available"), [((), 9), (("counter",), 9), (("mallow/counter",), 7)], ids=["default", "bare", "named"]
)
def test_a_scan_moves_no_stock_unless_its_location_says_so(
    make_chain: Callable[..., Chain], moving: tuple[str, ...], available: int,
) -> None:
    """Said so, each scan of a code is one piece; a label nobody lists stays a line of the ledger."""
    chain = make_chain(storefront(activate="auto", moving_journals=moving))
    chain.add_location()
    as_of = AsOf(chain.now - dt.timedelta(minutes=3), chain.now - dt.timedelta(minutes=2), "observed")
    chain.tell(*item("01", "9"), as_of=as_of)
    chain.tell(Product("01", title="Item 01"), where="mallow/counter", absence="nothing")
    chain.settle()
    scans = [Scan(f"s{n}", text, chain.now, "counter", "]E0") for n, text in enumerate(("01", "01", "77"))]
    changes = [Change("counter", "scan", one.id, "put", one) for one in scans]
    with chain.engine.begin() as conn:
        for _ in range(2):  # sent twice
            assert list(append(conn, Where("mallow", "agent-1", chain.now), list(enumerate(changes)))) == []
        assert touch_sold(conn, {"counter": FeedInfo("pos")}, changes, chain.now) == 1
        assert [entry.code for entry in read_entries(conn, "scan")] == ["01", "01", "77"]
    chain.settle()
    shown = published(chain, "pos:01")
    assert shown is not None
    assert shown.available == available


def test_a_sale_line_makes_its_variant_dirty_and_a_moving_journal_lowers_it(make_chain: Callable[..., Chain]) -> None:
    """At once, not with the next count; a code nobody lists stays a line of the ledger."""
    chain = make_chain(storefront(activate="auto", moving_journals=("mallow/journal",)))
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
