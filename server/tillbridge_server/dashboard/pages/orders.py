"""Web orders: the list, one order with its history, and what a person decides about it with the reason."""

from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from aiohttp import web

from tillbridge_server.dashboard.auth import VISIT
from tillbridge_server.dashboard.pages.order_words import decisions
from tillbridge_server.dashboard.reads import orders as reads
from tillbridge_server.dashboard.render import back_to, context_of, order_url, page, page_number
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store.orders import mark, route

FILTERS = {"open": "Open", "waiting": "Waiting for a person", "all": "All"}
FIELDS = ("event", "why", "location")
REASON_MAX = 1000


async def orders(request: web.Request) -> web.StreamResponse:
    """GET /orders, `?show=open|waiting|all&store=&page=`."""
    context = context_of(request)
    show = request.query.get("show", "open")
    show = show if show in FILTERS else "open"
    store = request.query.get("store", "")
    found, name = await context.store.run(
        lambda conn: (reads.order_page(conn, context.clock(), show, store, page_number(request)),
                      reads.store_name(conn, store))
    )
    if store and name is None:
        raise web.HTTPNotFound
    keep = {"store": store} if store else {}
    return await page(
        request, "orders.html", nav="orders", found=found, show=show, store=store, store_name=name,
        filters=[(key, word, found.counts[key], "/orders?" + urlencode({"show": key, **keep}))
                 for key, word in FILTERS.items()],
        base="/orders?" + urlencode({"show": show, **keep}) + "&",
        titles={shop.id: shop.title for shop in context.config.storefronts},
    )


async def order(request: web.Request) -> web.StreamResponse:
    """GET /orders/{order}."""
    return await _show(request)


async def decide(request: web.Request) -> web.StreamResponse:
    """POST /orders/{order}: `event` (imported, again, route, cancelled), `why`, and for route a `location`."""
    context, form = context_of(request), await request.post()
    said = {name: str(form.get(name, "")).strip()[:REASON_MAX] for name in FIELDS}
    found = await context.store.run(reads.one_order, request.match_info["order"], context.clock())
    if found is None:
        raise web.HTTPNotFound
    problems = {}
    if said["event"] not in [choice.value for choice in decisions(found.order.state, found.order.place)]:
        problems["event"] = "Choose what is to happen; the order may be in another state by now."
    if said["event"] == "route" and not said["location"]:
        problems["location"] = "Choose the store."
    if not said["why"]:
        problems["why"] = "Say why in a few words; it stays with the order."
    if problems:
        return await _show(request, problems, said, status=422)
    by, now = request[VISIT].by, context.clock()

    def do(conn: sa.Connection) -> None:
        if said["event"] == "route":
            route(conn, context.config, found.order.id, said["location"], by, said["why"], now)
        else:
            mark(conn, found.order.id, said["event"], by, said["why"], now)

    try:
        await context.store.run(do)
    except (NotPossible, NotKnown) as error:
        return await _show(request, {"event": error.message}, said, status=409)
    context.acted()
    return back_to(f"{order_url(found.order.id)}?done={said['event']}")


async def _show(
    request: web.Request, problems: dict[str, str] | None = None, said: dict[str, str] | None = None, status: int = 200,
) -> web.Response:
    context = context_of(request)
    found = await context.store.run(reads.one_order, request.match_info["order"], context.clock())
    if found is None:
        raise web.HTTPNotFound
    data: dict[str, Any] = {
        "picture": found, "order": found.order, "problems": problems or {}, "said": said or dict.fromkeys(FIELDS, ""),
        "choices": decisions(found.order.state, found.order.place),
        "stores": [(id_, name) for id_, name in found.stores if id_ != found.order.location],
        "titles": {shop.id: shop.title for shop in context.config.storefronts},
        "done": DONE.get(request.query.get("done", ""), "") if not problems else "",
    }
    return await page(request, "order.html", status=status, nav="orders", **data)


DONE = {
    "imported": "Written down: the order is at the till.", "again": "The order is sent again.",
    "route": "The order is sent to the store you chose.", "cancelled": "The order is called off.",
}
