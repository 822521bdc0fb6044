"""The stores: the list of all, and one with its feeds, agents, holds, quarantine and last changes."""

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.pages.overview import FILTERS, filtered, store_filters
from tillbridge_server.dashboard.reads import changes, work
from tillbridge_server.dashboard.reads.fleet import fleet
from tillbridge_server.dashboard.reads.orders import orders_at
from tillbridge_server.dashboard.render import context_of, page, page_number

ROWS = 20
PHASES = {
    "observe": "Phase observe: its facts are kept and nothing of it is on the web.",
    "stock_and_price": "Phase stock and price: its stock and prices are used for the web.",
    "orders": "Phase orders: web orders are sent here too.",
    "everything": "Phase everything: stock, prices and orders flow.",
}


async def stores(request: web.Request) -> web.StreamResponse:
    """GET /stores, `?show=trouble|offline`, paged."""
    context = context_of(request)
    places = await context.store.run(fleet, context.clock(), context.offline_after)
    show = request.query.get("show", "")
    show = show if show in FILTERS else ""
    listed = filtered(places, show)
    pages = max(1, -(-len(listed) // ROWS))
    number = min(page_number(request), pages)
    return await page(
        request, "stores.html", nav="stores", filters=store_filters(places), show=show, page=number, pages=pages,
        total=len(listed), listed=listed[(number - 1) * ROWS:number * ROWS],
    )


async def location(request: web.Request) -> web.StreamResponse:
    """GET /stores/{location}."""
    context = context_of(request)
    facts = await context.store.run(_read, context, request.match_info["location"])
    if facts is None:
        raise web.HTTPNotFound
    return await page(request, "location.html", nav="stores", **facts)


def _read(conn: sa.Connection, context: DashboardContext, location_id: str) -> dict[str, Any] | None:
    found = fleet(conn, context.clock(), context.offline_after, only=location_id)
    if not found:
        return None
    place = found[0]
    holds = [hold for hold in work.open_holds(conn) if hold.place.partition("/")[0] == place.id]
    orders, orders_total = orders_at(conn, place.id, context.clock(), ROWS // 2)
    return {
        "orders": orders, "orders_total": orders_total,
        "place": place, "phase_words": PHASES.get(place.phase, f"Phase {place.phase}."), "holds": holds,
        "counted": changes.count_facts(conn, place.id), "latest": changes.last_changes(conn, place.id, ROWS // 2),
    }
