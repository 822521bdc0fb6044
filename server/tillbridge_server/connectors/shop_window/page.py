"""The shop window's two addresses: the page a shopper would see, and its items as JSON for whoever watches."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from aiohttp import web

from tillbridge_server.connectors.shop_window.book import still_available, title_of_order
from tillbridge_server.connectors.shop_window.wire import shown_of
from tillbridge_server.core.offers import HIDE, Shown
from tillbridge_server.core.orders import order_id
from tillbridge_server.dashboard.render import bare, context_of, page_number
from tillbridge_server.dashboard.say import stock_words
from tillbridge_server.store.tables import window_item
from tillbridge_server.store.types import instant_text

PAGE = 24
Q_MAX = 200
#: How long a product says when it changed.
CHANGED_SHOWN = timedelta(minutes=10)
#: How the canonical text of a value shows that a sale runs.
_ON_SALE = '%,"was":"%'
_ENCODER = msgspec.json.Encoder(decimal_format="string")


@dataclass(frozen=True)
class Goods:
    """One product of the page; `percent` is the sale in whole percent or None."""

    shown: Shown
    words: str
    glyph: str
    letter: str
    percent: int | None
    changed_at: datetime | None


@dataclass(frozen=True)
class Window:
    """One page of the window: products, how many there are, how many on sale, when anything last changed."""

    goods: list[Goods]
    found: int
    total: int
    on_sale: int
    last_at: datetime | None
    page: int
    pages: int


async def shop(request: web.Request) -> web.StreamResponse:
    """GET /shop, `?q=&sale=1&page=&storefront=`; `bought=` and `missed=` say what came of a purchase."""
    context = context_of(request)
    front = context.window(request.query.get("storefront", ""))
    if front is None:
        raise web.HTTPNotFound
    q, sale = request.query.get("q", "").strip()[:Q_MAX], request.query.get("sale") == "1"
    seen = await context.store.run(read_page, front.id, q, sale, page_number(request), context.clock())
    outcome = await context.store.run(read_outcome, front.id, request.query.get("bought"), request.query.get("missed"))
    return bare(
        request, "shop.html", front=front, demo=context.config.demo, window=seen, q=q, sale=sale, outcome=outcome,
        back=request.rel_url.without_query_params("bought", "missed").raw_query_string,
        base="/shop?" + "".join(f"{part}&" for part in (
            f"storefront={front.id}" if request.query.get("storefront") else "", "sale=1" if sale else "") if part),
    )


@dataclass(frozen=True)
class Outcome:
    """What came of the last purchase: the order's number and ours, or why there is none."""

    text: str
    order: str = ""


def read_outcome(conn: sa.Connection, storefront: str, bought: str | None, missed: str | None) -> Outcome | None:
    """What an address says came of a purchase; only what the book and the window bear out."""
    if bought and (title := title_of_order(conn, storefront, bought)) is not None:
        return Outcome(f"Thank you, your order number is {bought}: {title}.", order_id(storefront, bought))
    if not missed:
        return None
    here = sa.and_(window_item.c.storefront == storefront, window_item.c.variant_id == missed)
    text = conn.scalar(sa.select(window_item.c.value).where(here))
    value = None if text is None else shown_of(text)
    if value is None:
        return Outcome("This is not sold here any more. Nothing was ordered.")
    left = still_available(conn, storefront, [value])[0].available
    title = value.title or value.codes[0]
    if left < 1:
        return Outcome(f"Sold out meanwhile: {title}. Nothing was ordered.")
    return Outcome(f"So many are not left of {title} by now. Nothing was ordered.")


async def items(request: web.Request) -> web.StreamResponse:
    """GET /shop/items.json, `?since=N&storefront=`: what changed after version N, all of it for 0.

    `version` is what to ask with next. A `since` from the future (the database was restored) gets everything,
    told by `since` 0 in the answer.
    """
    context = context_of(request)
    front = context.window(request.query.get("storefront", ""))
    text = request.query.get("since", "0")
    if front is None:
        raise web.HTTPNotFound
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        return web.json_response({"v": 1, "error": "since is a version of an earlier answer, such as 0"}, status=400)
    body, version = await context.store.run(read_delta, front.id, int(text))
    tag = f'W/"{front.id}-{text}-{version}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


def read_delta(conn: sa.Connection, storefront: str, since: int) -> tuple[bytes, int]:
    """The JSON of everything that changed after a version, and the version it brings one to."""
    here = window_item.c.storefront == storefront
    version = conn.scalar(sa.select(sa.func.max(window_item.c.version)).where(here)) or 0
    since = since if since <= version else 0
    shown: list[dict[str, Any]] = []
    removed: list[str] = []
    if since < version:
        query = sa.select(window_item).where(here, window_item.c.version > since).order_by(window_item.c.variant_id)
        told = [(row, shown_of(row.value)) for row in conn.execute(query)]
        removed = [row.variant_id for row, value in told if value is None and since]
        changed_at = {row.variant_id: row.changed_at for row, _ in told}
        values = still_available(conn, storefront, [value for _, value in told if value is not None])
        shown = [_item(value, changed_at[value.variant]) for value in values]
    document = {"v": 1, "version": version, "since": since, "items": shown, "removed": removed}
    return _ENCODER.encode(document), version


def _item(value: Shown, changed_at: datetime) -> dict[str, Any]:
    return {
        "variant": value.variant, "codes": value.codes, "title": value.title, "available": value.available,
        "price": value.price_now, "was": value.was, "currency": value.currency, "changed_at": instant_text(changed_at),
    }


def read_page(conn: sa.Connection, storefront: str, q: str, sale: bool, page: int, now: datetime) -> Window:
    """Twenty-four products by their id; hidden ones are not there."""
    here = sa.and_(window_item.c.storefront == storefront, window_item.c.value != HIDE)
    count = sa.select(sa.func.count()).select_from(window_item)
    total = conn.scalar(count.where(here)) or 0
    on_sale = conn.scalar(count.where(here, window_item.c.value.like(_ON_SALE))) or 0
    chosen = [here]
    if q:
        chosen.append(_matches(q))
    if sale:
        chosen.append(window_item.c.value.like(_ON_SALE))
    found = conn.scalar(count.where(*chosen)) or 0
    pages = max(1, -(-found // PAGE))
    page = min(page, pages)
    query = sa.select(window_item).where(*chosen).order_by(window_item.c.variant_id)
    rows = conn.execute(query.limit(PAGE).offset((page - 1) * PAGE)).all()
    last = conn.scalar(sa.select(sa.func.max(window_item.c.changed_at)).where(window_item.c.storefront == storefront))
    changed_at = {row.variant_id: row.changed_at for row in rows}
    values = still_available(conn, storefront, [value for row in rows if (value := shown_of(row.value)) is not None])
    goods = [_goods(value, changed_at[value.variant], now) for value in values]
    return Window(goods, found, total, on_sale, last, page, pages)


def _matches(q: str) -> sa.ColumnElement[bool]:
    """Titles that contain the text and codes that begin with it, told from the canonical text of a value."""
    text = msgspec.json.encode(q).decode()[1:-1]
    text = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    value = window_item.c.value
    return sa.or_(
        value.ilike(f'%"title":"%{text}%","available":%', escape="!"),
        value.ilike(f'%"codes":[%"{text}%],"title":%', escape="!"),
    )


def _goods(value: Shown, changed_at: datetime, now: datetime) -> Goods:
    words = stock_words(value.available)
    glyph = {"In stock": "ok", "Out of stock": "idle"}.get(words, "few")
    percent = None
    if value.was is not None and value.was > value.price_now:
        percent = max(1, int((1 - value.price_now / value.was) * Decimal(100)))
    letter = next((char for char in value.title or "" if char.isalnum()), "·").upper()
    return Goods(value, words, glyph, letter, percent, changed_at if now - changed_at < CHANGED_SHOWN else None)
