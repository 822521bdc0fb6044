"""What was scanned in the stores: a list to look at; nothing is decided here, and nothing moves by it."""

from urllib.parse import urlencode

from aiohttp import web

from tillbridge_server.dashboard.reads.orders import store_name
from tillbridge_server.dashboard.reads.scans import scan_page
from tillbridge_server.dashboard.render import context_of, page, page_number

#: AIM ids in the words of a store.
SYMBOLOGIES = {
    "]E0": "EAN-13", "]E3": "EAN-13 with add-on", "]E4": "EAN-8", "]C0": "Code 128", "]C1": "GS1-128",
    "]e0": "GS1 DataBar", "]d1": "DataMatrix", "]d2": "GS1 DataMatrix", "]Q1": "QR code", "]Q3": "GS1 QR code",
    "]A0": "Code 39", "]I0": "ITF",
}


async def scans(request: web.Request) -> web.StreamResponse:
    """GET /scans, `?store=&page=`."""
    context = context_of(request)
    store = request.query.get("store", "")
    found, name = await context.store.run(
        lambda conn: (scan_page(conn, context.clock(), context.offline_after, store, page_number(request)),
                      store_name(conn, store))
    )
    if store and name is None:
        raise web.HTTPNotFound
    moving = {name for shop in context.config.storefronts for name in shop.moving_journals}
    return await page(
        request, "scans.html", nav="scans", found=found, store=store, store_name=name, symbologies=SYMBOLOGIES,
        base="/scans?" + (urlencode({"store": store}) + "&" if store else ""),
        moving=sorted({f"{one.place}, {one.health.name}" for one in found.scanners
                       if f"{one.location}/{one.health.name}" in moving}),
    )
