"""What the ledger already knows of an order that is taken in late: told states and sales from before a restore."""

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.orders import FINAL, ROUTED, STATES, UNROUTED, leads_to
from tillbridge_protocol.records import OrderState
from tillbridge_server.store.order_proof import sell
from tillbridge_server.store.order_steps import release, reserve
from tillbridge_server.store.order_tables import order_sale, order_step, web_order
from tillbridge_server.store.tables import feed, ledger, numbering_code
from tillbridge_server.store.types import holds_text


def adopt_told(conn: sa.Connection, order_id: str, placed_at: dt.datetime, now: dt.datetime) -> bool:
    """Put a newly kept order where an agent has told it stands; False when no agent ever spoke of it.

    The agent's own steps go on from there. Its sale lines, if they came meanwhile, are found in the ledger too.
    """
    query = sa.select(ledger).where(ledger.c.kind == "order_state", ledger.c.code == order_id)
    told = [(row, _state(row)) for row in conn.execute(query.order_by(ledger.c.at, ledger.c.id)).mappings()]
    told = [(row, state) for row, state in told if state.state in STATES and state.state not in (UNROUTED, ROUTED)]
    if not told:
        return False
    newest = max(state.revision for _, state in told)
    told = [(row, state) for row, state in told if state.revision == newest]
    # By the table first: an agent's clock may stand still or go back between two steps.
    furthest = [one for one in told if not any(leads_to(one[1].state, state.state) for _, state in told)]
    row, last = max(furthest or told, key=lambda one: (one[0]["at"], one[0]["applied_at"], one[1].state in FINAL))
    conn.execute(web_order.update().where(web_order.c.id == order_id).values(
        state=last.state, state_at=now, revision=last.revision, sent_revision=last.revision,
        location_id=row["location_id"], agent_id=row["agent_id"], sequence=last.sequence, file=last.file,
        code=last.code, message=last.message,
    ))
    noted = sa.select(order_step.c.n).where(order_step.c.order_id == order_id, order_step.c.told_id == last.id)
    told_id = last.id if conn.execute(noted).first() is None else None  # a report makes one step of its own
    conn.execute(order_step.insert().values(
        order_id=order_id, revision=last.revision, at=now, event="found", before="unrouted", after=last.state,
        by="server", message="An agent had told of this order before it was taken in (again).", told_id=told_id,
    ))
    reserve(conn, order_id, row["location_id"], now)
    if last.state in FINAL:
        release(conn, order_id, f"told {last.state}", now)
    _adopt_sales(conn, order_id, row["location_id"], placed_at, now)
    sell(conn, order_id, now)
    return True


def _adopt_sales(conn: sa.Connection, order_id: str, location: str, placed_at: dt.datetime, now: dt.datetime) -> None:
    query = sa.select(ledger).where(
        ledger.c.location_id == location, ledger.c.kind == "sale_line", ledger.c.at >= placed_at - dt.timedelta(days=1),
        holds_text(ledger.c.value, f'"order":"{order_id}"'),
    )
    known = set(conn.execute(sa.select(order_sale.c.sale_id).where(order_sale.c.location_id == location)).scalars())
    for row in conn.execute(query).mappings().all():
        if row["id"] in known:
            continue
        conn.execute(order_sale.insert().values(
            location_id=location, sale_id=row["id"], order_id=order_id, feed=row["feed"],
            variant_id=_variant(conn, location, row["feed"], row["code"]), quantity=row["quantity"], at=row["at"],
            captured_at=row["captured_at"], applied_at=now,
        ))


def _variant(conn: sa.Connection, location: str, name: str, code: str) -> str | None:
    query = (
        sa.select(numbering_code.c.variant_id)
        .join(feed, feed.c.numbering == numbering_code.c.numbering)
        .where(feed.c.location_id == location, feed.c.name == name, numbering_code.c.code == code)
    )
    return conn.execute(query).scalar()


def _state(row: Any) -> OrderState:
    return msgspec.convert({**msgspec.json.decode(row["value"]), "id": row["id"]}, OrderState)
