"""The shop window's own book of orders: what shoppers bought, and what of it the shown stock does not know yet."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.orders import Shopper
from tillbridge_server.connectors.shop_window.wire import shown_of
from tillbridge_server.core.offers import Shown
from tillbridge_server.core.orders import StorefrontLine, StorefrontOrder
from tillbridge_server.store.fact_writes import chunks
from tillbridge_server.store.order_tables import window_order, window_order_line
from tillbridge_server.store.tables import window_item

#: A database looks a variant up by its own position; it takes no more of these in one query.
LOOKUPS_MAX = 200
#: Order numbers begin above this: the first order of a window is 1001.
NUMBERS_ABOVE = 1000


@dataclass(frozen=True, slots=True)
class Bought:
    """An order that stands in the book."""

    number: str
    title: str


@dataclass(frozen=True, slots=True)
class TooFew:
    """Nothing was bought: the window shows only `left` pieces by now."""

    left: Decimal
    title: str


def buy(
    conn: sa.Connection, storefront: str, variant: str, pieces: int, tail: str, now: dt.datetime,
) -> Bought | TooFew | None:
    """Sell at the price shown if so many pieces are shown; None when the variant is not shown at all.

    `tail` is random: a restored database, which counts from where it was, must not give out an old number again.
    Raises IntegrityError where another process wrote an order meanwhile; then ask again.
    """
    here = sa.and_(window_item.c.storefront == storefront, window_item.c.variant_id == variant)
    value = conn.scalar(sa.select(window_item.c.value).where(here))
    shown = None if value is None else shown_of(value)
    if shown is None:
        return None
    title, left = shown.title or shown.codes[0], still_available(conn, storefront, [shown])[0].available
    if left < pieces:
        return TooFew(left, title)
    # Positions count up without gaps by what is committed: whoever sweeps after one position misses no earlier one.
    position = (conn.scalar(sa.select(sa.func.max(window_order.c.position))) or 0) + 1
    number = f"{NUMBERS_ABOVE + position}-{tail}"
    conn.execute(window_order.insert().values(
        position=position, storefront=storefront, number=number, placed_at=now, currency=shown.currency,
        shopper=msgspec.json.encode(Shopper()).decode(),
    ))
    conn.execute(window_order_line.insert().values(
        position=position, line=1, storefront=storefront, variant_id=variant, quantity=Decimal(pieces),
        unit_price=shown.price_now, title=shown.title,
    ))
    newest = sa.select(sa.func.max(window_item.c.version)).where(window_item.c.storefront == storefront)
    version = (conn.scalar(newest) or 0) + 1
    conn.execute(window_item.update().where(here).values(version=version, changed_at=now))
    return Bought(number, title)


def still_available(conn: sa.Connection, storefront: str, values: Sequence[Shown]) -> list[Shown]:
    """The values less the pieces bought since the order their stock accounts for; never below 0."""
    bought = _bought_since(conn, storefront, {value.variant: value.through for value in values})
    return [
        msgspec.structs.replace(value, available=max(value.available - bought[value.variant], Decimal(0)))
        if value.variant in bought else value
        for value in values
    ]


def _bought_since(conn: sa.Connection, storefront: str, through: Mapping[str, int]) -> dict[str, Decimal]:
    line = window_order_line.c
    variants: Sequence[str] = sorted(through)
    if len(variants) > LOOKUPS_MAX:  # a whole window: most of it was never bought
        ever = set(conn.scalars(sa.select(line.variant_id).distinct().where(line.storefront == storefront)))
        variants = [variant for variant in variants if variant in ever]
    bought: dict[str, Decimal] = {}
    for some in chunks(variants, LOOKUPS_MAX):
        newer = sa.or_(*(
            sa.and_(line.storefront == storefront, line.variant_id == variant, line.position > through[variant])
            for variant in some
        ))
        for row in conn.execute(sa.select(line.variant_id, line.quantity).where(newer)):
            bought[row.variant_id] = bought.get(row.variant_id, Decimal(0)) + row.quantity
    return bought


def read_orders(conn: sa.Connection, storefront: str, after: int, limit: int) -> list[StorefrontOrder]:
    """The first orders after a position, in the order they were placed."""
    heads = conn.execute(
        sa.select(window_order).where(window_order.c.storefront == storefront, window_order.c.position > after)
        .order_by(window_order.c.position).limit(limit)
    ).all()
    lines: dict[int, list[sa.Row[Any]]] = {}
    for some in chunks([head.position for head in heads]):
        found = conn.execute(
            sa.select(window_order_line).where(window_order_line.c.position.in_(some))
            .order_by(window_order_line.c.position, window_order_line.c.line)
        )
        lines |= {position: list(rows) for position, rows in groupby(found, lambda row: row.position)}
    return [
        StorefrontOrder(
            head.position, head.number, head.placed_at, head.currency,
            tuple(StorefrontLine(row.line, row.variant_id, row.quantity, row.unit_price, row.title)
                  for row in lines[head.position]),
            msgspec.json.decode(head.shopper, type=Shopper),
        )
        for head in heads
    ]


def title_of_order(conn: sa.Connection, storefront: str, number: str) -> str | None:
    """What was bought under a number; None when this window has no such order."""
    query = (
        sa.select(window_order_line.c.title, window_order_line.c.variant_id)
        .join(window_order, window_order.c.position == window_order_line.c.position)
        .where(window_order.c.storefront == storefront, window_order.c.number == number)
        .order_by(window_order_line.c.line)
    )
    row = conn.execute(query).first()
    return None if row is None else row.title or row.variant_id.partition(":")[2]
