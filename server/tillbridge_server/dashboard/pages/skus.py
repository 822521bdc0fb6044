"""The list of SKUs: what is on the web, what is hidden, activating several at once; and the search."""

from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tillbridge_server.dashboard.auth import VISIT
from tillbridge_server.dashboard.reads import skus as reads
from tillbridge_server.dashboard.reads.orders import find_order
from tillbridge_server.dashboard.render import back_to, context_of, order_url, page, page_number, sku_url, store_url
from tillbridge_server.store.activation import activate, known_variants

STATES = {"": "All", "live": "On the web", "hidden": "Hidden", "held": "Held", "waiting": "Not decided yet"}
Q_MAX = 200


async def skus(request: web.Request) -> web.StreamResponse:
    """GET /skus, `?state=live|hidden|held|waiting&q=&storefront=&page=`."""
    context = context_of(request)
    shops = {shop.id: shop for shop in context.config.storefronts}
    chosen = request.query.get("storefront", "")
    shop = shops.get(chosen) or next(iter(shops.values()), None)
    state = request.query.get("state", "")
    state = state if state in STATES else ""
    q = request.query.get("q", "").strip()[:Q_MAX]
    found = await context.store.run(reads.sku_page, shop.id if shop else "", state, q, page_number(request))
    keep = {key: value for key, value in (("storefront", chosen if shop else ""), ("q", q)) if value}
    return await page(
        request, "skus.html", nav="skus", shop=shop, shops=list(shops.values()), found=found, q=q, state=state,
        states=[
            (key, word, sum(found.counts.values()) if not key else found.counts.get(key, 0),
             "/skus?" + urlencode({**keep, "state": key} if key else keep))
            for key, word in STATES.items()
        ],
        base="/skus?" + "".join(f"{pair}&" for pair in urlencode({**keep, "state": state}).split("&") if pair),
        done=_done(request),
    )


def _done(request: web.Request) -> int | None:
    text = request.query.get("activated", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


async def activate_chosen(request: web.Request) -> web.StreamResponse:
    """POST /activate: `storefront` and any number of `variant`, or `everything` and `listed`."""
    context, form = context_of(request), await request.post()
    shop = context.config.storefront(str(form.get("storefront", "")))
    if shop is None:
        raise web.HTTPNotFound
    field = "listed" if form.get("everything") else "variant"
    asked = [str(one) for one in form.getall(field, [])][:500]
    by, why, now = request[VISIT].by, str(form.get("reason", "")).strip()[:500] or "by hand", context.clock()

    def deed(conn: Any) -> int:
        return activate(conn, shop.id, sorted(known_variants(conn, asked)), by=by, why=why, now=now)

    n = await context.store.run(deed)
    context.acted()
    if form.get("back") == "sku" and len(asked) == 1:
        return back_to(f"{sku_url(asked[0])}?activated={n}&storefront={shop.id}")
    return back_to("/skus?" + urlencode({"storefront": shop.id, "state": "hidden", "activated": n}))


async def search(request: web.Request) -> web.StreamResponse:
    """GET /search?q=: straight to the one thing meant, else what was found."""
    context = context_of(request)
    q = request.query.get("q", "").strip()[:Q_MAX]
    if not q:
        return back_to("/skus")
    hit = await context.store.run(reads.exact_hit, q)
    if hit is not None:
        return back_to(sku_url(hit))
    order = await context.store.run(find_order, q)
    if order is not None:
        return back_to(order_url(order))
    places = await context.store.run(reads.locations_named, q)
    shop = next(iter(context.config.storefronts), None)
    found = await context.store.run(reads.sku_page, shop.id if shop else "", "", q, 1)
    if not found.total and len(places) == 1:
        return back_to(store_url(places[0][0]))
    return await page(request, "search.html", q=q, query=q, places=places, found=found)
