"""Web orders as the command line shows them: a list by state and age, and one order with all that is known of it."""

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.orders import FINAL, STATES, choices
from tillbridge_server.core.orders import overdue
from tillbridge_server.errors import NotKnown
from tillbridge_server.store.order_tables import order_line, order_sale, order_step, web_order
from tillbridge_server.store.tables import reservation
from tillbridge_server.store.types import instant_text

Document = dict[str, Any]


def list_orders(conn: sa.Connection, *, everything: bool, now: dt.datetime) -> Document:
    """The orders that are not at rest yet, or all of them, by id; `overdue` ones wait for a person."""
    query = sa.select(web_order).order_by(web_order.c.id)
    if not everything:
        query = query.where(web_order.c.state.not_in(FINAL))
    return {"v": 1, "orders": [_order(row, now) for row in conn.execute(query).mappings()]}


def show_order(conn: sa.Connection, order_id: str, now: dt.datetime) -> Document:
    """One order: lines with what is reserved, every step, the till's sale lines. Raises NotKnown."""
    row = conn.execute(sa.select(web_order).where(web_order.c.id == order_id)).mappings().first()
    if row is None:
        raise NotKnown(f"There is no order {order_id!r}.", "See `tillbridge-server orders list --all`.")
    promised = {
        one.line: one for one in conn.execute(sa.select(reservation).where(reservation.c.order_id == order_id))
    }
    lines = conn.execute(sa.select(order_line).where(order_line.c.order_id == order_id).order_by(order_line.c.line))
    steps = conn.execute(sa.select(order_step).where(order_step.c.order_id == order_id).order_by(order_step.c.n))
    sales = conn.execute(
        sa.select(order_sale).where(order_sale.c.order_id == order_id).order_by(order_sale.c.sale_id)
    )
    return {"v": 1, "order": {
        **_order(row, now), "currency": row["currency"], "choices": choices(row["state"]),
        "shopper": msgspec.json.decode(row["shopper"]),
        "lines": [{
            "line": line.line, "variant": line.variant_id, "quantity": format(line.quantity, "f"),
            "unit_price": format(line.unit_price, "f"), "title": line.title,
            "reserved": _reserved(promised.get(line.line)),
        } for line in lines],
        "steps": [{
            "at": instant_text(one.at), "event": one.event, "before": one.before, "after": one.after, "by": one.by,
            "revision": one.revision, "message": one.message,
        } for one in steps],
        "sales": [{
            "id": sale.sale_id, "feed": sale.feed, "variant": sale.variant_id,
            "quantity": format(sale.quantity, "f"), "at": instant_text(sale.at),
        } for sale in sales],
    }}


def _order(row: sa.RowMapping, now: dt.datetime) -> Document:
    late = overdue(row["state"], row["state_at"], now)
    return {
        "id": row["id"], "storefront": row["storefront"], "number": row["number"], "location": row["location_id"],
        "agent": row["agent_id"], "state": row["state"], "revision": row["revision"],
        "placed_at": instant_text(row["placed_at"]), "since": instant_text(row["state_at"]),
        "age_s": max(0, int((now - row["placed_at"]).total_seconds())), "overdue": late,
        "next_step": STATES[row["state"]].next_step if late else "", "code": row["code"], "message": row["message"],
        "file": row["file"],
    }


def _reserved(row: Any) -> str | None:
    """Pieces still promised; None when nothing ever was."""
    if row is None:
        return None
    return format(row.quantity - row.counted, "f") if row.state == "open" else "0"
