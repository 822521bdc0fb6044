"""The last changes of one location and how much is known of it."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from tillbridge_server.dashboard.reads.skus import json_object, title_of
from tillbridge_server.dashboard.say import money, number
from tillbridge_server.store.tables import fact, fact_history, feed, numbering_code

#: How far back in the whole history the last changes of one location are looked for.
LOOK_BACK = 20_000


@dataclass(frozen=True)
class ChangeLine:
    """One change of a location in words; `variant` "" when its code is not linked."""

    at: datetime
    variant: str
    title: str
    code: str
    words: str
    file: str
    line: int


def count_facts(conn: sa.Connection, location_id: str) -> dict[str, int]:
    """How many facts of each kind are known of a location, those that are gone left out."""
    query = (
        sa.select(fact.c.kind, sa.func.count())
        .where(fact.c.location_id == location_id, fact.c.gone.is_(False))
        .group_by(fact.c.kind)
    )
    return {row[0]: int(row[1]) for row in conn.execute(query)}


def last_changes(conn: sa.Connection, location_id: str, limit: int) -> list[ChangeLine]:
    """The newest changes of a location, newest first, with what was before."""
    h = fact_history.c
    newest = conn.scalar(sa.select(sa.func.max(h.n))) or 0
    query = (
        sa.select(fact_history, numbering_code.c.variant_id)
        .outerjoin(feed, sa.and_(feed.c.location_id == h.location_id, feed.c.name == h.feed))
        .outerjoin(numbering_code, sa.and_(
            numbering_code.c.numbering == feed.c.numbering, numbering_code.c.code == h.code
        ))
        .where(h.n > newest - LOOK_BACK, h.location_id == location_id, h.kind.in_(("stock_level", "price")))
        .order_by(h.n.desc())
        .limit(limit)
    )
    lines = []
    for row in conn.execute(query).all():
        before = conn.scalar(
            sa.select(h.value)
            .where(h.location_id == row.location_id, h.feed == row.feed, h.kind == row.kind, h.code == row.code,
                   h.n < row.n)
            .order_by(h.n.desc()).limit(1)
        )
        lines.append(ChangeLine(
            row.applied_at, row.variant_id or "", (row.variant_id and title_of(conn, row.variant_id)) or row.code,
            row.code, _words(row.kind, bool(row.gone), json_object(row.value), json_object(before)), row.file, row.line,
        ))
    return lines


def _words(kind: str, gone: bool, value: dict[str, object], before: dict[str, object]) -> str:
    if gone:
        return "no longer listed"
    if kind == "stock_level":
        old = f"{number(before['on_hand'])} → " if before.get("on_hand") is not None else ""
        return f"counted {old}{number(value.get('on_hand'))}"
    currency = str(value.get("currency") or "")
    old = f"{money(before['list_price'], currency)} → " if before.get("list_price") is not None else ""
    sale = f", sale {money(value['sale_price'], currency)}" if value.get("sale_price") is not None else ""
    return f"price {old}{money(value.get('list_price'), currency)}{sale}"
