"""The overview: is every store fine, and what needs a person first?"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.pages.needs import SHOWN_MAX, needs_of
from tillbridge_server.dashboard.reads import work
from tillbridge_server.dashboard.reads.fleet import LocationState, fleet
from tillbridge_server.dashboard.reads.orders import long_promised, waiting_groups
from tillbridge_server.dashboard.reads.skus import json_object
from tillbridge_server.dashboard.render import context_of, page
from tillbridge_server.dashboard.say import NBSP, decimal_of, money, number, stock_words

ROWS = 20


@dataclass(frozen=True)
class Front:
    """One storefront row with its state in a word."""

    id: str
    title: str
    connector: str
    href: str
    pill: str
    word: str
    state: work.StorefrontState


@dataclass(frozen=True)
class Line:
    """One line of "last published" in words."""

    at: Any
    variant: str
    title: str
    words: str
    because: str


async def overview(request: web.Request) -> web.StreamResponse:
    """GET /, `?show=trouble|offline` filters the stores."""
    context = context_of(request)
    facts = await context.store.run(_read, context)
    places: list[LocationState] = facts["places"]
    if not places:
        return await page(request, "connect.html", nav="overview", public_url=context.config.public_url)
    show = request.query.get("show", "")
    fronts: list[Front] = facts["fronts"]
    holds: list[work.HoldRow] = facts["holds"]
    live = sum(front.state.live + front.state.held for front in fronts)
    needs = needs_of(places, holds, facts["letters"], live, context.clock(), facts["orders"], facts["promised"])
    fresh = sum(place.fresh for place in places)
    listed = filtered(places, show)
    return await page(
        request, "overview.html", nav="overview", places=places, listed=listed[:ROWS], show=show,
        filters=store_filters(places), filter_query=f"show={show}" if show in FILTERS else "", fresh=fresh,
        fresh_words=_fresh_words(places, fresh), states_words=_states_words(places), needs=needs[:SHOWN_MAX],
        needs_total=len(needs), holds=holds, oldest_hold=min((h.since for h in holds), default=None),
        held_total=sum(h.affected for h in holds), fronts=fronts, latest=[_line(p) for p in facts["latest"]],
        last_decision=facts["last_decision"], offline_after=context.offline_after,
    )


FILTERS = {"trouble": "Not fresh", "offline": "Offline"}


def filtered(places: list[LocationState], show: str) -> list[LocationState]:
    """The stores a filter of the address leaves."""
    if show == "trouble":
        return [place for place in places if not place.fresh]
    if show == "offline":
        return [place for place in places if place.offline]
    return places


def store_filters(places: list[LocationState]) -> list[tuple[str, str, int]]:
    """(value in the address, word, how many) of each filter."""
    return [("", "All", len(places)), *((key, word, len(filtered(places, key))) for key, word in FILTERS.items())]


def _read(conn: sa.Connection, context: DashboardContext) -> dict[str, Any]:
    return {
        "places": fleet(conn, context.clock(), context.offline_after),
        "holds": work.open_holds(conn),
        "letters": work.dead_letters_by_place(conn),
        "fronts": [_front(shop, work.storefront_state(conn, shop.id)) for shop in context.config.storefronts],
        "latest": work.last_published(conn),
        "last_decision": work.last_decision(conn),
        "orders": waiting_groups(conn, context.clock()), "promised": long_promised(conn, context.clock()),
    }


def _front(shop: StorefrontConfig, state: work.StorefrontState) -> Front:
    if state.failing:
        pill, word = "stop", "Not answering"
    elif state.queue > 100:
        pill, word = "late", "Behind"
    elif state.held:
        pill, word = "held", f"{state.held:,} held"
    else:
        pill, word = "ok", "Healthy"
    href = f"/shop?storefront={shop.id}" if shop.connector == "shop_window" else ""
    return Front(shop.id, shop.title, shop.connector.replace("_", " "), href, pill, word, state)


def _fresh_words(places: list[LocationState], fresh: int) -> str:
    if fresh == len(places):
        return "The store is fresh." if len(places) == 1 else f"All {len(places)} stores are fresh."
    return f"{fresh} of {len(places)} stores {'is' if fresh == 1 else 'are'} fresh."


def _states_words(places: list[LocationState]) -> str:
    counts: dict[str, int] = {}
    for place in places:
        if not place.fresh:
            counts[place.word.lower()] = counts.get(place.word.lower(), 0) + 1
    if counts:
        return " · ".join(f"{n} {word}" for word, n in counts.items())
    behind = sum(place.backlog or 0 for place in places)
    return "no store has a backlog" if not behind else f"{behind:,}{NBSP}changes on their way"


def _line(published: work.Published) -> Line:
    return Line(published.at, published.variant, published.title, shown_words(published.value), _because(published))


def shown_words(value: dict[str, Any]) -> str:
    """What a shopper sees, on one line: "Only 3 left · €12.99, was €15.99"."""
    if not value or value.get("hide"):
        return "hidden"
    currency = value.get("currency") or ""
    price = money(value.get("price_now"), currency)
    was = f", was {money(value['was'], currency)}" if value.get("was") is not None else ""
    pieces = decimal_of(value.get("available"))
    words = stock_words(pieces)
    exact = f", {number(pieces)}" if words == "In stock" else ""
    return f"{words}{exact} · {price}{was}"


def _because(published: work.Published) -> str:
    cause = published.cause
    if cause is None:
        return "a decision, no new fact"
    value = json_object(cause.value)
    if cause.gone:
        return f"{published.place} no longer lists it"
    if cause.kind == "stock_level":
        before = published.before.get("on_hand")
        was = f"{number(before)} → " if before is not None else ""
        return f"{published.place} counted {was}{number(value.get('on_hand'))}, {cause.file}"
    currency = value.get("currency") or ""
    price = value.get("sale_price") or value.get("list_price")
    return f"{published.place} charges {money(price, currency)}, {cause.file}"
