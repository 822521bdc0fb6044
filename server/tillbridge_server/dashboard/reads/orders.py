"""Web orders as the screens read them: lists, one order with everything known of it, stock that stays promised."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.orders import FINAL, STATES, Shopper
from tillbridge_server.core.orders import COUNTED_WITHIN, overdue, patience
from tillbridge_server.core.routing import TAKES_ORDERS
from tillbridge_server.store.fact_writes import chunks
from tillbridge_server.store.order_tables import order_line, order_sale, order_step, web_order
from tillbridge_server.store.tables import ledger, location, reservation

ROWS = 20


@dataclass(frozen=True)
class OrderRow:
    """One order as lists tell it; `location` is None without a place, `overdue` says that a person should look."""

    id: str
    storefront: str
    number: str
    location: str | None
    place: str
    state: str
    state_at: datetime
    placed_at: datetime
    revision: int
    code: str
    message: str
    file: str
    sequence: int | None
    currency: str
    goods: str
    overdue: bool


@dataclass(frozen=True)
class OrderPage:
    """One page of a list, and how many there are behind each filter."""

    rows: list[OrderRow]
    counts: dict[str, int]
    page: int
    pages: int


@dataclass(frozen=True)
class LineRow:
    """One line; `reserved` pieces are still promised at `place`, `counted` ones a count includes by now."""

    line: int
    variant: str
    title: str
    quantity: Decimal
    unit_price: Decimal
    place: str
    reserved: Decimal
    counted: Decimal
    released: str


@dataclass(frozen=True)
class SaleRow:
    """One sale line of the till under our number, with the file it was read from."""

    sale_id: str
    variant: str
    quantity: Decimal
    at: datetime
    applied_at: datetime
    feed: str
    file: str
    line: int


@dataclass(frozen=True)
class OrderPicture:
    """Everything known of one order; `stores` are the (id, name) of those that are switched on for orders."""

    order: OrderRow
    shopper: Shopper
    lines: list[LineRow]
    steps: list[Any]
    sales: list[SaleRow]
    stores: list[tuple[str, str]]
    names: dict[str, str]

    @property
    def total(self) -> Decimal:
        """What the shopper pays for all lines."""
        return sum((line.quantity * line.unit_price for line in self.lines), Decimal(0))


@dataclass(frozen=True)
class Waiting:
    """Orders of one state and location that a person should look at; `order` is set when it is a single one."""

    state: str
    location: str | None
    place: str
    n: int
    since: datetime
    order: OrderRow | None


@dataclass(frozen=True)
class Promised:
    """Stock of one location that has been promised to orders for longer than a count should take."""

    location: str
    place: str
    orders: list[str]
    pieces: Decimal
    since: datetime


def order_page(conn: sa.Connection, now: datetime, show: str, place: str, page: int) -> OrderPage:
    """Twenty orders, newest first, of one filter (open, waiting, all) and of one location ("" for every one)."""
    here = web_order.c.location_id == place if place else sa.true()
    filters = {"open": sa.and_(here, web_order.c.state.not_in(FINAL)), "waiting": sa.and_(here, waiting(now)),
               "all": here}
    how_many = sa.select(sa.func.count()).select_from(web_order)
    counts = {name: conn.scalar(how_many.where(some)) or 0 for name, some in filters.items()}
    pages = max(1, -(-counts[show] // ROWS))
    page = min(page, pages)
    query = sa.select(web_order).where(filters[show]).order_by(web_order.c.placed_at.desc(), web_order.c.id.desc())
    return OrderPage(_rows(conn, query.limit(ROWS).offset((page - 1) * ROWS), now), counts, page, pages)


def waiting(now: datetime) -> sa.ColumnElement[bool]:
    """The condition of orders that a person should look at: core/orders.overdue as a question to the database."""
    limits = {state: patience(state) for state in STATES}
    return sa.or_(*(
        sa.and_(web_order.c.state == state, web_order.c.state_at < now - limit) if limit
        else web_order.c.state == state
        for state, limit in limits.items() if limit is not None
    ))


def waiting_groups(conn: sa.Connection, now: datetime) -> list[Waiting]:
    """The orders that a person should look at by state and location, the longest waiting first."""
    since = sa.func.min(web_order.c.state_at, type_=web_order.c.state_at.type).label("since")
    query = (
        sa.select(web_order.c.state, web_order.c.location_id, location.c.name, sa.func.count().label("n"), since,
                  sa.func.min(web_order.c.id).label("first"))
        .outerjoin(location, location.c.id == web_order.c.location_id)
        .where(waiting(now)).group_by(web_order.c.state, web_order.c.location_id, location.c.name)
        .order_by(since, web_order.c.state, web_order.c.location_id)
    )
    groups = conn.execute(query).all()
    alone: dict[str, OrderRow] = {}
    for some in chunks([row.first for row in groups if row.n == 1]):
        alone |= {row.id: row for row in _rows(conn, sa.select(web_order).where(web_order.c.id.in_(some)), now)}
    return [
        Waiting(row.state, row.location_id, row.name or row.location_id or "", row.n, row.since, alone.get(row.first))
        for row in groups
    ]


def count_waiting(conn: sa.Connection, now: datetime) -> int:
    """For the navigation."""
    return conn.scalar(sa.select(sa.func.count()).select_from(web_order).where(waiting(now))) or 0


def orders_at(conn: sa.Connection, place: str, now: datetime, limit: int) -> tuple[list[OrderRow], int]:
    """The orders in work at a location, those that wait for a person first, and how many there are."""
    here = sa.and_(web_order.c.location_id == place, web_order.c.state.not_in(FINAL))
    total = conn.scalar(sa.select(sa.func.count()).select_from(web_order).where(here)) or 0
    first = sa.case((waiting(now), 0), else_=1)
    query = sa.select(web_order).where(here).order_by(first, web_order.c.placed_at.desc(), web_order.c.id.desc())
    return _rows(conn, query.limit(limit), now), total


def store_name(conn: sa.Connection, place: str) -> str | None:
    """The name of a location; None when there is none of this id."""
    name: str | None = conn.scalar(sa.select(location.c.name).where(location.c.id == place))
    return name


def find_order(conn: sa.Connection, text: str) -> str | None:
    """The id of the order that is called this, here or by its storefront."""
    query = sa.select(web_order.c.id).where(sa.or_(web_order.c.id == text, web_order.c.number == text))
    found = conn.scalars(query.limit(2)).all()
    return found[0] if len(found) == 1 else None


def long_promised(conn: sa.Connection, now: datetime) -> list[Promised]:
    """Reservations that are open for longer than COUNTED_WITHIN, by location, the oldest first.

    Those of orders that are told for themselves, because their state lasts too long, are left out.
    """
    old = sa.and_(reservation.c.state == "open", reservation.c.created_at < now - COUNTED_WITHIN)
    query = (
        sa.select(reservation, location.c.name)
        .join(web_order, web_order.c.id == reservation.c.order_id)
        .outerjoin(location, location.c.id == reservation.c.location_id)
        .where(old, sa.not_(waiting(now)))
        .order_by(reservation.c.location_id, reservation.c.created_at, reservation.c.order_id)
    )
    found = []
    for place, some in groupby(conn.execute(query), lambda row: row.location_id):
        rows = list(some)
        found.append(Promised(
            place, rows[0].name or place, list(dict.fromkeys(row.order_id for row in rows)),
            sum((row.quantity - row.counted for row in rows), Decimal(0)), rows[0].created_at,
        ))
    return sorted(found, key=lambda one: (one.since, one.location))


def one_order(conn: sa.Connection, order_id: str, now: datetime) -> OrderPicture | None:
    """Everything known of an order."""
    query = sa.select(web_order).where(web_order.c.id == order_id)
    rows = _rows(conn, query, now)
    if not rows:
        return None
    places = conn.execute(sa.select(location).order_by(location.c.name, location.c.id)).all()
    names = {row.id: row.name for row in places}
    steps = conn.execute(sa.select(order_step).where(order_step.c.order_id == order_id).order_by(order_step.c.n.desc()))
    shopper = conn.scalar(query.with_only_columns(web_order.c.shopper))
    return OrderPicture(
        rows[0], msgspec.json.decode(shopper or "{}", type=Shopper), _lines(conn, order_id, names), list(steps),
        _sales(conn, order_id), [(row.id, row.name) for row in places if row.phase in TAKES_ORDERS], names,
    )


def _rows(conn: sa.Connection, query: sa.Select[Any], now: datetime) -> list[OrderRow]:
    rows = conn.execute(query).all()
    names = {row.id: row.name for row in conn.execute(sa.select(location.c.id, location.c.name))} if rows else {}
    goods = _goods(conn, [row.id for row in rows])
    return [
        OrderRow(
            row.id, row.storefront, row.number, row.location_id, names.get(row.location_id, row.location_id or ""),
            row.state, row.state_at, row.placed_at, row.revision, row.code or "", row.message or "", row.file or "",
            row.sequence, row.currency, goods.get(row.id, ""), overdue(row.state, row.state_at, now),
        )
        for row in rows
    ]


def _goods(conn: sa.Connection, ids: list[str]) -> dict[str, str]:
    """The first article of each order, and how many more there are."""
    found: dict[str, str] = {}
    for some in chunks(ids):
        query = sa.select(order_line).where(order_line.c.order_id.in_(some))
        lines = conn.execute(query.order_by(order_line.c.order_id, order_line.c.line))
        for order_id, group in groupby(lines, lambda line: line.order_id):
            first, *more = list(group)
            title = first.title or first.variant_id.partition(":")[2]
            found[order_id] = f"{title} and {len(more)} more" if more else title
    return found


def _lines(conn: sa.Connection, order_id: str, names: dict[str, str]) -> list[LineRow]:
    promised = {
        row.line: row for row in conn.execute(sa.select(reservation).where(reservation.c.order_id == order_id))
    }
    query = sa.select(order_line).where(order_line.c.order_id == order_id).order_by(order_line.c.line)
    lines = []
    for row in conn.execute(query):
        held = promised.get(row.line)
        still = held.quantity - held.counted if held is not None and held.state == "open" else Decimal(0)
        lines.append(LineRow(
            row.line, row.variant_id, row.title or row.variant_id.partition(":")[2], row.quantity, row.unit_price,
            names.get(held.location_id, held.location_id) if held is not None else "", still,
            held.counted if held is not None else Decimal(0), (held.released_why or "") if held is not None else "",
        ))
    return lines


def _sales(conn: sa.Connection, order_id: str) -> list[SaleRow]:
    said = sa.and_(ledger.c.location_id == order_sale.c.location_id, ledger.c.kind == "sale_line",
                   ledger.c.id == order_sale.c.sale_id)
    query = (
        sa.select(order_sale, ledger.c.file, ledger.c.line).outerjoin(ledger, said)
        .where(order_sale.c.order_id == order_id).order_by(order_sale.c.at, order_sale.c.sale_id)
    )
    return [
        SaleRow(row.sale_id, row.variant_id or "", row.quantity, row.at, row.applied_at, row.feed, row.file or "",
                row.line or 0)
        for row in conn.execute(query)
    ]
