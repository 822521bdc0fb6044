"""What people and agents do with web orders: mark, route, tell what is known, hear what an agent tells."""

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from tillbridge_protocol.mailbox import MarkOrder
from tillbridge_protocol.orders import FINAL, ROUTED, UNROUTED, OrderStanding, OrderStandings, choices, follow
from tillbridge_protocol.positions import Position
from tillbridge_protocol.records import OrderState
from tillbridge_server.agents import mailbox
from tillbridge_server.core.inbox_rules import Known
from tillbridge_server.core.settings import Rules
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store.order_adoption import adopt_told
from tillbridge_server.store.order_intake import choose, find_place
from tillbridge_server.store.order_steps import locked, reserve, step, tell
from tillbridge_server.store.order_tables import web_order
from tillbridge_server.store.tables import agent as agent_table
from tillbridge_server.store.tables import audit

AGAIN = "again"


def mark(conn: sa.Connection, order_id: str, event: str, by: str, why: str, now: dt.datetime) -> str:
    """A person says what is so, or what shall be done: one of `choices` of its state. Returns the new state.

    `again` makes a new revision for the same location. Raises NotKnown, NotPossible.
    """
    order = _order(conn, order_id)
    if event not in choices(order["state"]):
        raise _impossible(order, event)
    if event == AGAIN:
        if order["location_id"] is None or not _placeable(conn, order["agent_id"]):
            raise NotPossible(f"There is no agent any more that could place {order_id}.",
                              "Choose a location for it: `tillbridge-server orders route ORDER LOCATION`.")
        after = step(conn, order, AGAIN, now=now, by=by, message=why, **_anew(order))
        reserve(conn, order_id, order["location_id"], now)
    else:
        after = step(conn, order, event, now=now, by=by, message=why)
        if order["agent_id"]:
            message = MarkOrder(
                order=order_id, revision=order["revision"], mark="cancelled" if event == "cancelled" else "imported",
                reason=why, by=by,
            )
            mailbox.put(conn, order["agent_id"], f"order:{order_id}:{order['revision']}:{event}", message, now)
    assert after is not None
    conn.execute(audit.insert().values(at=now, by=by, act=f"mark order {event}", what=order_id, why=why))
    return after


def route(conn: sa.Connection, rules: Rules, order_id: str, location: str, by: str, why: str, now: dt.datetime) -> str:
    """A person sends an order to a location, also one that lacks stock. Raises NotKnown, NotPossible."""
    order = _order(conn, order_id)
    if order["state"] != UNROUTED:
        if follow(order["state"], AGAIN) is None:
            raise _impossible(order, "route")
        chosen = choose(conn, rules, order, wanted=location)
        if chosen.location is None:
            raise _unfit(location, chosen.message)
        step(conn, order, AGAIN, now=now, by=by, message=why,
             **_anew(order), location_id=chosen.location, agent_id=chosen.agent)
        reserve(conn, order_id, chosen.location, now)
    else:
        found = find_place(conn, rules, order_id, now, wanted=location, by=by, why=why)
        assert found is not None
        if found.location is None:
            raise _unfit(location, found.message)
    conn.execute(audit.insert().values(at=now, by=by, act="route order", what=f"{order_id} to {location}", why=why))
    return location


def hear(
    conn: sa.Connection, location: str, agent_id: str, epoch: str, told: Iterable[OrderState], now: dt.datetime,
) -> None:
    """Take over what an agent tells of orders of its location; of an order unknown here the ledger keeps it.

    An order that has no place yet, but is told of, was here before this database was put back: it is where it is.
    """
    for one in told:
        order = locked(conn, one.order)
        if order is None:
            continue
        if order["state"] == UNROUTED and one.revision >= order["revision"]:
            adopt_told(conn, one.order, order["placed_at"], now)
        elif order["location_id"] == location:
            tell(conn, order, one, agent_id, epoch, now)


def standings(
    conn: sa.Connection, agent_id: str, known: Known, position: Position, now: dt.datetime,
) -> OrderStandings | None:
    """What is known of this agent's orders, if its position is ours; remembers that it was told.

    An agent that is told places orders; so one that was restored or forked must not be (DESIGN §5.7). It asks when
    it has nothing left to tell: an order that it never confirmed was lost with its database, and is mailed again.
    """
    if (known.epoch, known.seq, known.head) != (position.epoch, position.seq, position.head):
        return None
    location = sa.select(agent_table.c.location_id).where(agent_table.c.id == agent_id).scalar_subquery()
    query = sa.select(web_order).where(web_order.c.agent_id == agent_id, web_order.c.state.not_in(FINAL))
    mine = conn.execute(query.order_by(web_order.c.id)).all()
    for row in mine:
        if row.state == ROUTED:
            mailbox.hand_out_again(conn, agent_id, f"order:{row.id}:{row.revision}")
    highest = sa.select(sa.func.max(web_order.c.sequence)).where(web_order.c.location_id == location)
    conn.execute(
        agent_table.update().where(agent_table.c.id == agent_id)
        .values(orders_told_epoch=position.epoch, orders_told_at=now)
    )
    return OrderStandings(
        epoch=position.epoch, sequence=conn.execute(highest).scalar() or 0,
        orders=[
            OrderStanding(order=row.id, revision=row.revision, state=row.state, received_epoch=row.received_epoch)
            for row in mine
        ],
    )


def _order(conn: sa.Connection, order_id: str) -> sa.RowMapping:
    order = locked(conn, order_id)
    if order is None:
        raise NotKnown(f"There is no order {order_id!r}.", "See `tillbridge-server orders list --all`.")
    return order


def _anew(order: sa.RowMapping) -> dict[str, object]:
    return {"revision": order["revision"] + 1, "received_epoch": None, "file": None}


def _placeable(conn: sa.Connection, agent_id: str | None) -> bool:
    query = sa.select(agent_table.c.status).where(agent_table.c.id == agent_id)
    return conn.execute(query).scalar() == "active"


def _impossible(order: sa.RowMapping, event: str) -> NotPossible:
    can = [f"`orders mark {order['id']} {one}`" for one in choices(order["state"])]
    if order["state"] == UNROUTED:
        can.insert(0, f"`orders route {order['id']} LOCATION`")
    hint = f"Possible are {', '.join(can)}." if can else "Nothing is left to decide about it."
    return NotPossible(f"{order['id']} is {order['state']}; it cannot be marked {event}.", hint)


def _unfit(location: str, message: str) -> NotPossible:
    return NotPossible(f"{location} cannot take the order: {message}",
                       "Choose a location in phase `orders` whose agent has [orders] in its agent.toml.")
