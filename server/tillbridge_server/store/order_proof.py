"""The proof that stock is no longer promised: sales under our order numbers, and the counts that include them."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import sqlalchemy as sa

from tillbridge_protocol.changes import Change, FeedInfo
from tillbridge_protocol.mailbox import MarkOrder
from tillbridge_protocol.orders import CANCELLED, COUNTED, READY, RECEIVED, ROUTED, SOLD, UNCERTAIN
from tillbridge_protocol.records import SaleLine
from tillbridge_server.agents import mailbox
from tillbridge_server.core.facts import Known
from tillbridge_server.core.reservations import Count, Sale, counted, share_out
from tillbridge_server.store.event_writes import content_of
from tillbridge_server.store.facts_reading import read_known
from tillbridge_server.store.order_steps import lines_of, locked, promise_again, step, touch_order
from tillbridge_server.store.order_tables import order_sale
from tillbridge_server.store.tables import ledger, numbering_code, reservation

#: Whether a feed's sale lines lower the stock by themselves wherever its location is sold: (location, feed).
Moves = Callable[[str, str], bool]
#: The agent might still place an order that is in one of these.
_MAY_BE_PLACED = frozenset({ROUTED, RECEIVED, READY, UNCERTAIN})


def note_sales(
    conn: sa.Connection, location: str, feeds: Mapping[str, FeedInfo], changes: Iterable[Change], now: dt.datetime,
) -> None:
    """Keep the sale lines that carry one of our order numbers; an order whose pieces are all sold is `sold`."""
    touched: set[str] = set()
    for change in changes:
        record = change.record
        if not isinstance(record, SaleLine) or record.order is None or not record.order.strip():
            continue
        order = locked(conn, record.order.strip().upper())
        # The conflicting second content of a line is in the ledger under another id, and proves nothing.
        if order is None or order["location_id"] != location or not _in_ledger(conn, location, change.key, record):
            continue
        if not _known_sale(conn, location, change.key):
            conn.execute(order_sale.insert().values(
                location_id=location, sale_id=change.key, order_id=order["id"], feed=change.feed,
                variant_id=_variant(conn, feeds[change.feed].numbering, record.code), quantity=record.quantity,
                at=record.at, captured_at=change.source.captured_at, applied_at=now,
            ))
        touched.add(order["id"])
    for order_id in sorted(touched):
        sell(conn, order_id, now)


def release_counted(conn: sa.Connection, location: str, moves: Moves, now: dt.datetime) -> list[str]:
    """Count what the latest stock of this location includes; returns the orders that are counted now."""
    query = (
        sa.select(reservation.c.order_id).distinct()
        .join(order_sale, order_sale.c.order_id == reservation.c.order_id)
        .where(reservation.c.location_id == location, reservation.c.state == "open",
               order_sale.c.location_id == location)
    )
    orders = sorted(conn.execute(query).scalars())
    return [order_id for order_id in orders if _count(conn, order_id, location, moves, now)]


def sell(conn: sa.Connection, order_id: str, now: dt.datetime) -> None:
    """The order is `sold` when the till's sales under its number have all of its pieces.

    One that was called off is promised again until a count has it: its pieces are gone, and the count has them still.
    """
    order = locked(conn, order_id)
    assert order is not None
    sold = _sold(conn, order_id)
    wanted: dict[str, Decimal] = {}
    for line in lines_of(conn, order_id):
        wanted[line.variant_id] = wanted.get(line.variant_id, Decimal(0)) + line.quantity
    if any(sold.get(variant, Decimal(0)) < pieces for variant, pieces in wanted.items()):
        return
    moved = step(conn, order, "sell", now=now)
    if moved and order["state"] == CANCELLED:
        promise_again(conn, order_id, now)
    if moved and order["state"] in _MAY_BE_PLACED and order["agent_id"]:
        message = MarkOrder(
            order=order_id, revision=order["revision"], mark="imported", by="server",
            reason="The till's journal shows it sold.",
        )
        mailbox.put(conn, order["agent_id"], f"order:{order_id}:{order['revision']}:sold", message, now)


def _count(conn: sa.Connection, order_id: str, location: str, moves: Moves, now: dt.datetime) -> bool:
    """Count the order's sales; True when nothing is reserved for it any more."""
    rows = conn.execute(
        sa.select(reservation).where(reservation.c.order_id == order_id, reservation.c.location_id == location)
        .order_by(reservation.c.line)
    ).all()
    known = read_known(conn, sorted({row.variant_id for row in rows}))
    changed = False
    for variant in sorted(known):
        mine = [row for row in rows if row.variant_id == variant]
        pieces = counted(_sales(conn, order_id, variant, moves), _counts(known[variant], location))
        for row, share in zip(mine, share_out(pieces, [row.quantity for row in mine]), strict=True):
            if row.state == "open" and share > row.counted:
                changed = True
                full = share >= row.quantity
                conn.execute(
                    reservation.update().where(
                        reservation.c.location_id == location, reservation.c.order_id == order_id,
                        reservation.c.line == row.line,
                    ).values(counted=share, **({
                        "state": "released", "released_at": now, "released_why": "sold and counted",
                    } if full else {}))
                )
    if not changed:
        return False
    touch_order(conn, order_id, now)
    left = sa.select(reservation.c.line).where(reservation.c.order_id == order_id, reservation.c.state == "open")
    if conn.execute(left).first() is not None:
        return False
    order = locked(conn, order_id)
    assert order is not None
    return order["state"] == SOLD and step(conn, order, "count", now=now) == COUNTED


def _sales(conn: sa.Connection, order_id: str, variant: str, moves: Moves) -> list[Sale]:
    query = sa.select(order_sale).where(order_sale.c.order_id == order_id, order_sale.c.variant_id == variant)
    return [
        Sale(row.quantity, row.at, row.captured_at, moves(row.location_id, row.feed))
        for row in conn.execute(query.order_by(order_sale.c.sale_id))
    ]


def _counts(known: Known, location: str) -> list[Count]:
    """When each feed's stock of the variant was true at the earliest; one of unknown time proves nothing."""
    counts = []
    for fact in known.facts:
        if fact.kind == "stock_level" and fact.location == location and fact.record is not None:
            if fact.source.as_of is None or fact.source.as_of_kind is None:
                return []
            counts.append(Count(fact.source.as_of[0], fact.source.as_of_kind))
    return counts


def _sold(conn: sa.Connection, order_id: str) -> dict[str, Decimal]:
    sold: dict[str, Decimal] = {}
    for row in conn.execute(sa.select(order_sale).where(order_sale.c.order_id == order_id)):
        if row.variant_id is not None:
            sold[row.variant_id] = sold.get(row.variant_id, Decimal(0)) + row.quantity
    return sold


def _variant(conn: sa.Connection, numbering: str, code: str) -> str | None:
    query = sa.select(numbering_code.c.variant_id)
    return conn.execute(
        query.where(numbering_code.c.numbering == numbering, numbering_code.c.code == code)
    ).scalar()


def _known_sale(conn: sa.Connection, location: str, sale_id: str) -> bool:
    query = sa.select(order_sale.c.order_id)
    return conn.execute(
        query.where(order_sale.c.location_id == location, order_sale.c.sale_id == sale_id)
    ).first() is not None


def _in_ledger(conn: sa.Connection, location: str, sale_id: str, record: SaleLine) -> bool:
    query = sa.select(ledger.c.content).where(
        ledger.c.location_id == location, ledger.c.kind == "sale_line", ledger.c.id == sale_id
    )
    return conn.execute(query).scalar() == content_of("sale_line", record)
