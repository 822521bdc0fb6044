"""Operations that only look: reports, explanations and what every screen reads, on whatever has come about by then."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from tests.integration.store.decided import LOCATIONS
from tests.integration.store.pair import CODES, SHOPS, Pair, operation

from tillbridge_server import reports
from tillbridge_server.dashboard.reads import changes, fleet, skus, timeline, work
from tillbridge_server.dashboard.reads import orders as order_reads
from tillbridge_server.store import explaining, facts_reading, ledger_reading, offers, order_reading

_WORDS = ("", "a1", "A", "grö", "100%", "é", "Ö")


@operation(6)
def look_at_offers(pair: Pair) -> None:
    """What should be shown, what is, and why, now or earlier."""
    variant, shop = f"pos:{pair.rng.choice(CODES)}", pair.rng.choice(SHOPS)
    pair.both(reports.offers, pair.rules, storefront=pair.rng.choice((None, shop.id)), now=pair.now)
    if pair.both(skus.variant_exists, variant):
        at = pair.rng.choice((None, pair.now - dt.timedelta(hours=3)))
        pair.both(explaining.explain_offer, pair.rules, shop, variant, now=pair.now, at=at)
        pair.both(facts_reading.read_known, [variant], moving=("sales",), at=at)
        for read in (skus.title_of, skus.stock_by_location, skus.variant_codes, skus.is_dirty, skus.product_of,
                     skus.promised_nowhere):
            pair.both(read, variant)
        pair.both(skus.shown, variant, shop.id)
        pair.both(timeline.timeline, variant, {})
    pair.both(offers.count_shown, shop.id, with_stock=True)


@operation(3)
def look_at_lists(pair: Pair) -> None:
    """What the command line prints."""
    for kind in ("sale_line", "scan", "order_state"):
        pair.both(reports.ledger, kind=kind)
        pair.both(ledger_reading.read_entries, kind, location=pair.rng.choice((None, "mallow")))
    for read in (reports.holds, reports.dead_letters, reports.agents):
        pair.both(read)
    pair.both(order_reading.list_orders, everything=pair.rng.random() < 0.5, now=pair.now)
    for order in pair.orders[-3:]:
        pair.both(order_reading.show_order, order, pair.now)


@operation(3)
def look_at_screens(pair: Pair) -> None:
    """What the dashboard shows."""
    late, place, words = dt.timedelta(minutes=5), pair.rng.choice(LOCATIONS), pair.rng.choice(_WORDS)
    pair.both(fleet.fleet, pair.now, late)
    pair.both(changes.count_facts, place)
    pair.both(changes.last_changes, place, 20)
    pair.both(skus.sku_page, pair.rng.choice(SHOPS).id, pair.rng.choice(("", "hidden", "live")), words, 1)
    for find in (skus.exact_hit, skus.locations_named, order_reads.find_order):
        pair.both(find, words)
    reads: list[tuple[Callable[..., Any], tuple[object, ...]]] = [
        (work.count_open_holds, ()), (work.dead_letters_by_place, ()), (work.last_decision, ()),
        (work.storefront_state, ("window",)), (work.audit_page, (1,)), (order_reads.waiting_groups, (pair.now,)),
        (order_reads.count_waiting, (pair.now,)), (order_reads.orders_at, (place, pair.now, 5)),
        (order_reads.long_promised, (pair.now,)), (order_reads.order_page, (pair.now, "all", "", 1)),
    ]
    for read, given in reads:
        pair.both(read, *given)
    for order in pair.orders[-2:]:
        pair.both(order_reads.one_order, order, pair.now)
