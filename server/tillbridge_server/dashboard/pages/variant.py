"""One variant: what the web shows and why, stock by store, where it is shown, what happened to it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from aiohttp import web

from tillbridge_server import reports
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.pages.tree import price_tree, reasons, stock_tree
from tillbridge_server.dashboard.reads import skus as reads
from tillbridge_server.dashboard.reads.timeline import timeline
from tillbridge_server.dashboard.render import context_of, page
from tillbridge_server.dashboard.say import Say, stock_words
from tillbridge_server.errors import NotKnown

GROUPS = (("", "All"), ("stock", "Stock"), ("price", "Price"), ("sales", "Sales"), ("web", "Web"), ("people", "People"))


async def variant(request: web.Request) -> web.StreamResponse:
    """GET /skus/{variant}; `?at=2026-11-23T14:00` explains an earlier moment, `storefront=` another storefront."""
    context, variant_id = context_of(request), request.match_info["variant"]
    zone = ZoneInfo(context.config.time_zone)
    shops = context.config.storefronts
    shop = context.config.storefront(request.query.get("storefront", "")) or (shops[0] if shops else None)
    at, problem = _moment(request.query.get("at", ""), zone, context.clock())
    group = request.query.get("show", "")
    facts = await context.store.run(_read, context, variant_id, shop, at, group if group in dict(GROUPS) else "")
    if facts is None:
        raise web.HTTPNotFound
    say = Say(context.clock(), zone)
    doc = facts["doc"]
    titles = {one.id: one.title for one in shops}
    return await page(
        request, "variant.html", nav="skus", **facts, shop=shop, shop_names=titles, at=at, at_problem=problem,
        at_text=(at or context.clock()).astimezone(zone).strftime("%Y-%m-%dT%H:%M"), groups=GROUPS, group=group,
        stock=stock_tree(doc, facts["names"], say) if doc else None,
        price=price_tree(doc, say) if doc else None,
        told=stock_words(doc["available"]["value"]) if doc else "", activated=request.query.get("activated") == "1",
        why=reasons(doc["visibility"]["why"]) if doc else [], reasons=reasons,
        totals=_totals(facts["places"], facts["nowhere"]), variant=variant_id,
    )


def _moment(text: str, zone: ZoneInfo, now: datetime) -> tuple[datetime | None, str]:
    """The moment asked for (local time of the chain) in UTC, or None for now with what was wrong."""
    if not text:
        return None, ""
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None, f"“{text[:40]}” is not a moment. Write it like 2026-11-23T14:00."
    return (None, "") if at >= now else (at, "")


def _read(
    conn: sa.Connection, context: DashboardContext, variant_id: str, shop: StorefrontConfig | None,
    at: datetime | None, group: str,
) -> dict[str, Any] | None:
    if not reads.variant_exists(conn, variant_id):
        return None
    titles = {one.id: one.title for one in context.config.storefronts}
    events, older = timeline(conn, variant_id, titles, group)
    product = reads.product_of(conn, variant_id)
    doc = _explain(conn, context, variant_id, shop, at)
    codes = reads.variant_codes(conn, variant_id)
    shown = [reads.shown(conn, variant_id, one.id) for one in context.config.storefronts]
    return {
        "codes": codes, "product": product, "shown": shown,
        "here": next((one for one in shown if shop and one.storefront == shop.id), None),
        "title": product.get("title") or variant_id.partition(":")[2],
        "doc": doc, "places": [_confirmed(place, doc) for place in reads.stock_by_location(conn, variant_id)],
        "names": reads.location_names(conn), "events": events, "older": older,
        "dirty": reads.is_dirty(conn, variant_id), "nowhere": reads.promised_nowhere(conn, variant_id),
    }


def _explain(
    conn: sa.Connection, context: DashboardContext, variant_id: str, shop: StorefrontConfig | None, at: datetime | None
) -> dict[str, Any] | None:
    if shop is None:
        return None
    try:
        return reports.explain(conn, context.config, variant_id, storefront=shop.id, at=at, now=context.clock())
    except NotKnown:
        return None


def _confirmed(place: reads.StockRow, doc: dict[str, Any] | None) -> reads.StockRow:
    """The row with the as-of of the last file that confirmed its count, as the explanation has it."""
    terms = doc["available"]["terms"] if doc else []
    sources = [t["source"] for t in terms if t["term"] == "count" and t["location"] == place.location and t["source"]]
    ends = [source["as_of"][1] for source in sources if source["as_of"]]
    return replace(place, as_of=datetime.fromisoformat(max(ends))) if ends else place


def _totals(places: list[reads.StockRow], nowhere: Decimal) -> tuple[Decimal, Decimal]:
    """Counted over all stores that know a count, and reserved there and for orders without a store."""
    known = [place for place in places if place.counted is not None]
    return (sum((place.counted or Decimal(0) for place in known), Decimal(0)),
            sum((place.reserved for place in places), nowhere))
