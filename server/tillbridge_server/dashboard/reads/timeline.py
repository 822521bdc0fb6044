"""What happened to one variant: fact history, ledger, publications and deeds, newest first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tillbridge_server.dashboard.reads.skus import json_object
from tillbridge_server.dashboard.say import decimal_of, money, number, stock_words
from tillbridge_server.store.tables import (
    activation,
    fact_history,
    feed,
    ledger,
    location,
    numbering_code,
    publication,
)

#: Lines read of each kind of event; the page says so when there are more.
LINES_MAX = 30


@dataclass(frozen=True)
class Event:
    """One line of the timeline; `group` is stock, price, sales, web or people."""

    at: datetime
    group: str
    glyph: str
    text: str
    detail: str = ""


def timeline(
    conn: sa.Connection, variant_id: str, titles: dict[str, str], group: str = ""
) -> tuple[list[Event], bool]:
    """The newest events of a variant, and whether there are older ones; `titles` are those of the storefronts."""
    names = {row.id: row.name for row in conn.execute(sa.select(location.c.id, location.c.name))}
    events = [
        *_fact_events(conn, variant_id, names), *_sales(conn, variant_id, names),
        *_web_events(conn, variant_id, titles), *_deeds(conn, variant_id, titles),
    ]
    if group:
        events = [event for event in events if event.group == group]
    events.sort(key=lambda event: event.at, reverse=True)
    return events[:LINES_MAX], len(events) > LINES_MAX


def _fact_events(conn: sa.Connection, variant_id: str, names: dict[str, str]) -> list[Event]:
    """Each version of each fact beside the one before it."""
    query = (
        sa.select(fact_history)
        .select_from(numbering_code)
        .join(feed, feed.c.numbering == numbering_code.c.numbering)
        .join(fact_history, sa.and_(
            fact_history.c.location_id == feed.c.location_id, fact_history.c.feed == feed.c.name,
            fact_history.c.kind.in_(("stock_level", "price")), fact_history.c.code == numbering_code.c.code,
        ))
        .where(numbering_code.c.variant_id == variant_id)
        .order_by(fact_history.c.n.desc())
        .limit(LINES_MAX * 4)
    )
    rows = list(conn.execute(query))
    events = []
    for index, row in enumerate(rows):
        same = (row.location_id, row.feed, row.kind, row.code)
        before = next((r for r in rows[index + 1:] if (r.location_id, r.feed, r.kind, r.code) == same), None)
        events.append(_fact_event(row, before, names.get(row.location_id, row.location_id)))
    return events


def _fact_event(row: Any, before: Any, place: str) -> Event:
    detail = f"{row.file}, line {row.line:,}" if row.file else f"feed {row.feed}"
    group = "stock" if row.kind == "stock_level" else "price"
    if row.gone:
        return Event(row.applied_at, group, "idle", f"{place} no longer lists it", detail)
    value = json_object(row.value)
    old = json_object(before.value) if before is not None and not before.gone else {}
    if row.kind == "stock_level":
        was = f", before: {number(old['on_hand'])}" if old.get("on_hand") is not None else ""
        return Event(row.applied_at, "stock", "dot", f"{place} counted {number(value.get('on_hand'))}{was}", detail)
    currency = value.get("currency") or ""
    was = f", before: {money(old['list_price'], currency)}" if old.get("list_price") is not None else ""
    sale = f", sale {money(value['sale_price'], currency)}" if value.get("sale_price") is not None else ""
    text = f"{place} charges {money(value.get('list_price'), currency)}{sale}{was}"
    return Event(row.applied_at, "price", "dot", text, detail)


def _sales(conn: sa.Connection, variant_id: str, names: dict[str, str]) -> list[Event]:
    query = (
        sa.select(ledger)
        .select_from(numbering_code)
        .join(feed, feed.c.numbering == numbering_code.c.numbering)
        .join(ledger, sa.and_(
            ledger.c.location_id == feed.c.location_id, ledger.c.feed == feed.c.name,
            ledger.c.kind == "sale_line", ledger.c.code == numbering_code.c.code,
        ))
        .where(numbering_code.c.variant_id == variant_id)
        .order_by(ledger.c.at.desc(), ledger.c.location_id, ledger.c.id)
        .limit(LINES_MAX)
    )
    events = []
    for row in conn.execute(query):
        value = json_object(row.value)
        quantity = decimal_of(row.quantity) or 0
        deed = f"{number(quantity)} sold in" if quantity >= 0 else f"{number(-quantity)} brought back to"
        parts = [f"receipt {value['receipt']}" if value.get("receipt") else f"line {row.id}",
                 f"till {value['till']}" if value.get("till") else "",
                 f"at {money(row.price, value.get('currency') or '')}" if row.price is not None else ""]
        text = f"{deed} {names.get(row.location_id, row.location_id)}"
        events.append(Event(row.at, "sales", "dot", text, ", ".join(part for part in parts if part)))
    return events


def _web_events(conn: sa.Connection, variant_id: str, titles: dict[str, str]) -> list[Event]:
    query = sa.select(publication).where(publication.c.variant_id == variant_id)
    events = []
    for row in conn.execute(query):
        value, shop = json_object(row.value), titles.get(row.storefront, row.storefront)
        if value.get("hide"):
            events.append(Event(row.published_at, "web", "idle", f"{shop} stopped showing it"))
            continue
        words = stock_words(value.get("available")) or "stock unknown"
        price = money(value.get("price_now"), value.get("currency") or "")
        events.append(Event(row.published_at, "web", "ok", f"{shop} shows {words}, {price}"))
    return events


def _deeds(conn: sa.Connection, variant_id: str, titles: dict[str, str]) -> list[Event]:
    query = sa.select(activation).where(activation.c.variant_id == variant_id)
    return [
        Event(row.activated_at, "people", "dot",
              f"{row.activated_by} activated it for {titles.get(row.storefront, row.storefront)}")
        for row in conn.execute(query)
    ]
