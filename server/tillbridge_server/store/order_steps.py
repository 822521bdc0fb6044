"""Steps of web orders: every change of a state with its line of history; callers own the transaction."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tillbridge_protocol.orders import CANCELLED, ROUTED, follow, leads_to
from tillbridge_protocol.records import OrderState
from tillbridge_server.store.fact_writes import touch
from tillbridge_server.store.order_tables import order_line, order_step, web_order
from tillbridge_server.store.tables import reservation

#: Reservations of an order without a place; it counts in every pool.
NOWHERE = ""
_BY_SERVER = "server"


def locked(conn: sa.Connection, order_id: str) -> sa.RowMapping | None:
    """The order, for this transaction to change."""
    query = sa.select(web_order).where(web_order.c.id == order_id).with_for_update()
    return conn.execute(query).mappings().first()


def step(
    conn: sa.Connection, order: sa.RowMapping, event: str, *, now: dt.datetime, by: str = _BY_SERVER,
    message: str = "", **values: Any,
) -> str | None:
    """Take the step of the table, with further columns in `values`; None, and nothing changes, when there is none."""
    after = follow(order["state"], event)
    if after is None:
        return None
    _move(conn, order, event, after, now=now, by=by, message=message, **values)
    return after


def tell(
    conn: sa.Connection, order: sa.RowMapping, told: OrderState, agent_id: str, epoch: str, now: dt.datetime,
) -> bool:
    """An agent tells a state: taken over when its steps lead there, else only noted. Returns whether it moved.

    Reports come again after a restore; the same report is noted once.
    """
    seen = sa.select(order_step.c.n).where(order_step.c.order_id == order["id"], order_step.c.told_id == told.id)
    if conn.execute(seen).first() is not None:
        return False
    news = told.revision == order["revision"] and leads_to(order["state"], told.state)
    if not news:
        _note(conn, order, f"told {told.state}", order["state"], now, f"agent {agent_id}", told.message or "", told)
        return False
    first = order["received_epoch"] is None and order["state"] == ROUTED
    _move(
        conn, order, f"told {told.state}", told.state, now=now, by=f"agent {agent_id}", message=told.message or "",
        told=told, code=told.code, said=told.message, file=told.file or order["file"],
        sequence=told.sequence if told.sequence is not None else order["sequence"],
        **({"received_epoch": epoch} if first else {}),
    )
    return True


def reserve(conn: sa.Connection, order_id: str, location: str, now: dt.datetime) -> None:
    """Promise the order's pieces at a location (NOWHERE: by every pool); what was promised elsewhere moves there."""
    conn.execute(reservation.delete().where(reservation.c.order_id == order_id, reservation.c.location_id != location))
    kept = set(conn.execute(
        sa.select(reservation.c.line).where(reservation.c.order_id == order_id, reservation.c.location_id == location)
    ).scalars())
    for line in lines_of(conn, order_id):
        if line.line not in kept:
            conn.execute(reservation.insert().values(
                location_id=location, order_id=order_id, line=line.line, variant_id=line.variant_id,
                quantity=line.quantity, counted=0, state="open", created_at=now,
            ))
    touch_order(conn, order_id, now)


def release(conn: sa.Connection, order_id: str, why: str, now: dt.datetime) -> None:
    """End what is still promised to the order."""
    conn.execute(
        reservation.update().where(reservation.c.order_id == order_id, reservation.c.state == "open")
        .values(state="released", released_at=now, released_why=why)
    )
    touch_order(conn, order_id, now)


def promise_again(conn: sa.Connection, order_id: str, now: dt.datetime) -> None:
    """What was released without having been counted is promised once more, where it was."""
    rows = conn.execute(sa.select(reservation).where(reservation.c.order_id == order_id)).all()
    for row in rows:
        if row.counted < row.quantity:
            conn.execute(
                reservation.update().where(
                    reservation.c.location_id == row.location_id, reservation.c.order_id == order_id,
                    reservation.c.line == row.line,
                ).values(state="open", released_at=None, released_why=None)
            )
    touch_order(conn, order_id, now)


def touch_order(conn: sa.Connection, order_id: str, now: dt.datetime) -> None:
    """The offers of everything in the order are decided again."""
    touch(conn, sorted({line.variant_id for line in lines_of(conn, order_id)}), now)


def lines_of(conn: sa.Connection, order_id: str) -> Sequence[sa.Row[Any]]:
    """The order's lines, first line first."""
    query = sa.select(order_line).where(order_line.c.order_id == order_id).order_by(order_line.c.line)
    return conn.execute(query).all()


def _move(
    conn: sa.Connection, order: sa.RowMapping, event: str, after: str, *, now: dt.datetime, by: str, message: str,
    told: OrderState | None = None, said: str | None = None, **values: Any,
) -> None:
    _note(conn, order, event, after, now, by, message, told, revision=values.get("revision"))
    values.setdefault("code", None)
    kept = said if told is not None else (message or None)
    conn.execute(
        web_order.update().where(web_order.c.id == order["id"])
        .values(state=after, state_at=now, **({"message": kept} | values))
    )
    if after == CANCELLED:
        release(conn, order["id"], "cancelled", now)


def _note(
    conn: sa.Connection, order: sa.RowMapping, event: str, after: str, now: dt.datetime, by: str, message: str,
    told: OrderState | None = None, *, revision: int | None = None,
) -> None:
    conn.execute(order_step.insert().values(
        order_id=order["id"], revision=revision or (told.revision if told else order["revision"]), at=now, event=event,
        before=order["state"], after=after, by=by, message=message, told_id=told.id if told else None,
    ))
