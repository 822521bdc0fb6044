"""Taking in a storefront's orders, finding each a location, and putting it signed into an agent's mailbox.

Every function is one transaction of its caller and bears repeats: the same order of a storefront is always the
same order here, whatever was restored meanwhile.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.mailbox import PlaceOrder
from tillbridge_protocol.orders import ROUTED, UNROUTED, Order, OrderLine, Shopper, SignedOrder
from tillbridge_server.agents import mailbox
from tillbridge_server.core.facts import Known
from tillbridge_server.core.orders import ORDER_LIFE, StorefrontLine, StorefrontOrder, fault, order_id
from tillbridge_server.core.routing import Candidate, Route, route
from tillbridge_server.core.settings import Rules, StorefrontConfig
from tillbridge_server.store.database import level_triggered
from tillbridge_server.store.dead_letters import refuse_order
from tillbridge_server.store.fact_writes import upsert
from tillbridge_server.store.facts_reading import read_known, read_phases
from tillbridge_server.store.order_adoption import adopt_told
from tillbridge_server.store.order_steps import NOWHERE, lines_of, locked, reserve, step
from tillbridge_server.store.order_tables import note, order_cursor, order_line, order_step, web_order
from tillbridge_server.store.tables import agent as agent_table

Sign = Callable[[Order], SignedOrder]
#: Set when the database is found to be older than the orders it had taken in: since when routing waits.
WAIT_SINCE = "orders_wait_since"
WAITED_FOR = "is waited for, because the database was restored and it may have the order already."


def cursor(conn: sa.Connection, storefront: str) -> int:
    """The position up to which this storefront's orders have been taken in."""
    query = sa.select(order_cursor.c.position).where(order_cursor.c.storefront == storefront)
    return conn.execute(query).scalar() or 0


def take_in(
    conn: sa.Connection, rules: Rules, storefront: StorefrontConfig, orders: Sequence[StorefrontOrder],
    now: dt.datetime,
) -> list[str]:
    """Keep these orders, each with its reservation; returns the ids of those that were not known.

    One that can never be placed becomes a dead letter, and harms none behind it.
    """
    new = []
    for order in orders:
        ours = order_id(storefront.id, order.number)
        row = locked(conn, ours)
        if (problem := _problem(storefront.id, order, row)) is not None:
            _set_aside(conn, storefront.id, order, problem, now)
        elif row is None:
            _keep(conn, storefront.id, ours, order, now)
            if not adopt_told(conn, ours, order.placed_at, now):
                reserve(conn, ours, NOWHERE, now)
                find_place(conn, rules, ours, now)
            new.append(ours)
    if orders:
        last = max(order.position for order in orders)
        if last > cursor(conn, storefront.id):
            upsert(conn, order_cursor, [{"storefront": storefront.id, "position": last}], ("storefront",))
    return new


def find_place(
    conn: sa.Connection, rules: Rules, order: str, now: dt.datetime, *, wanted: str | None = None, by: str = "server",
    why: str = "",
) -> Route | None:
    """Route one unrouted order; `wanted` is a person's choice. None when it is not unrouted or not known."""
    row = locked(conn, order)
    if row is None or row["state"] != UNROUTED:
        return None
    chosen = choose(conn, rules, row, wanted=wanted)
    if chosen.location is None:
        if chosen.message != row["message"]:
            conn.execute(web_order.update().where(web_order.c.id == order).values(message=chosen.message))
        return chosen
    step(conn, row, "route", now=now, by=by, message=why, location_id=chosen.location, agent_id=chosen.agent)
    reserve(conn, order, chosen.location, now)
    return chosen


def choose(conn: sa.Connection, rules: Rules, order: sa.RowMapping, *, wanted: str | None = None) -> Route:
    """The location for an order as things are now; its own reservation is left out."""
    storefront = next((shop for shop in rules.storefronts if shop.id == order["storefront"]), None)
    if storefront is None:
        return Route(None, None, {"": f"the storefront {order['storefront']} is not configured any more."})
    waits = None if wanted is not None else _waits_for(conn, storefront.pool)
    if waits:
        return Route(None, None, dict.fromkeys(waits, WAITED_FOR))
    lines = [
        StorefrontLine(line.line, line.variant_id, line.quantity, line.unit_price, line.title)
        for line in lines_of(conn, order["id"])
    ]
    known = {
        variant: _without(one, order["id"])
        for variant, one in read_known(conn, sorted({line.variant for line in lines}),
                                       moving=storefront.moving_journals).items()
    }
    return route(
        lines, known, _candidates(conn), pool=storefront.pool, owners=rules.owners,
        moving=storefront.moving_journals, wanted=wanted,
    )


def route_waiting(conn: sa.Connection, rules: Rules, now: dt.datetime) -> list[str]:
    """Try again every order without a place; returns those that found one."""
    query = sa.select(web_order.c.id).where(web_order.c.state == UNROUTED)
    waiting = conn.execute(query.order_by(web_order.c.position, web_order.c.id)).scalars().all()
    found = [(one, find_place(conn, rules, one, now)) for one in waiting]
    return [one for one, chosen in found if chosen is not None and chosen.location is not None]


def send_routed(conn: sa.Connection, sign: Sign, now: dt.datetime) -> list[str]:
    """Put every routed order that is not there yet into its agent's mailbox; returns the agents that have mail."""
    query = sa.select(web_order).where(
        web_order.c.state == ROUTED, web_order.c.sent_revision < web_order.c.revision
    ).order_by(web_order.c.position, web_order.c.id).with_for_update()
    mailed = []
    for row in conn.execute(query).mappings().all():
        signed = sign(_order(conn, row, now))
        mailbox.put(conn, row["agent_id"], f"order:{row['id']}:{row['revision']}", PlaceOrder(signed), now)
        conn.execute(web_order.update().where(web_order.c.id == row["id"]).values(sent_revision=row["revision"]))
        mailed.append(row["agent_id"])
    return mailed


def withdraw(conn: sa.Connection, agent_id: str, now: dt.datetime) -> None:
    """The agent is believed no more: what it never confirmed to have is free again, what it has is in doubt."""
    query = sa.select(web_order).where(web_order.c.agent_id == agent_id).order_by(web_order.c.id).with_for_update()
    for row in conn.execute(query).mappings().all():
        free = {"location_id": None, "agent_id": None, "revision": row["revision"] + 1}
        if step(conn, row, "withdraw", now=now, message="Its agent was revoked before it had the order.", **free):
            reserve(conn, row["id"], NOWHERE, now)
        else:
            step(conn, row, "doubt", now=now, message="Its agent was revoked; nobody knows whether it was placed.")


@level_triggered
def count_taken_in(conn: sa.Connection) -> int:
    """How many orders were ever taken in, by whichever server."""
    return conn.execute(sa.select(sa.func.count()).select_from(web_order)).scalar() or 0


def notice_restore(conn: sa.Connection, taken_in_before: int | None, now: dt.datetime) -> int:
    """At start: compare with how many orders had been taken in; fewer now means an older database was put back.

    None says that nobody knows. Routing then waits for the agents, who know what they have; each is asked for a new
    epoch, also one whose own position fits the older database. Returns the number now.
    """
    here = count_taken_in(conn)
    restored = here > 0 if taken_in_before is None else here < taken_in_before
    if restored:
        upsert(conn, note, [{"name": WAIT_SINCE, "value": now.isoformat()}], ("name",))
        conn.execute(agent_table.update().where(agent_table.c.status == "active").values(resync_asked=True))
    return here


def _keep(conn: sa.Connection, storefront: str, ours: str, order: StorefrontOrder, now: dt.datetime) -> None:
    conn.execute(web_order.insert().values(
        id=ours, storefront=storefront, number=order.number, position=order.position, revision=1, sent_revision=0,
        state=UNROUTED, state_at=now, placed_at=order.placed_at, taken_in_at=now, currency=order.currency,
        shopper=msgspec.json.encode(order.shopper).decode(),
    ))
    for line in order.lines:
        conn.execute(order_line.insert().values(
            order_id=ours, line=line.line, variant_id=line.variant, quantity=line.quantity,
            unit_price=line.unit_price, title=line.title,
        ))
    conn.execute(order_step.insert().values(
        order_id=ours, revision=1, at=now, event="taken in", before="", after=UNROUTED, by="server", message="",
    ))


def _problem(storefront: str, order: StorefrontOrder, row: sa.RowMapping | None) -> tuple[str, str] | None:
    """Code and words of why an order is not taken in; `row` is the order that has its number here."""
    if row is not None and (row["storefront"], row["number"]) != (storefront, order.number):
        return "order_number_taken", (
            f"Here it would be {row['id']}, which order {row['number']!r} of {row['storefront']} is already. "
            "If it is another order, key it in at a till by hand."
        )
    wrong = None if row is not None else fault(storefront, order)
    if wrong is None:
        return None
    return "order_malformed", f"{wrong} Look at it in the storefront, and key it in at a till by hand."


def _set_aside(
    conn: sa.Connection, storefront: str, order: StorefrontOrder, problem: tuple[str, str], now: dt.datetime,
) -> None:
    """The dead letter of an order that is not taken in; who ordered it is not in it."""
    lines = [[one.line, one.variant, str(one.quantity), str(one.unit_price)] for one in order.lines]
    payload = msgspec.json.encode({"position": order.position, "number": order.number, "lines": lines})
    refuse_order(conn, storefront, order.number, payload, code=problem[0], message=problem[1], now=now)


def _order(conn: sa.Connection, row: sa.RowMapping, now: dt.datetime) -> Order:
    codes = codes_at(conn, row["location_id"], [line.variant_id for line in lines_of(conn, row["id"])])
    return Order(
        id=row["id"], revision=row["revision"], agent=row["agent_id"], location=row["location_id"],
        storefront=row["storefront"], number=row["number"], placed_at=row["placed_at"], not_after=now + ORDER_LIFE,
        currency=row["currency"], shopper=msgspec.json.decode(row["shopper"], type=Shopper),
        lines=[
            OrderLine(line=line.line, code=codes[line.variant_id], quantity=line.quantity,
                      unit_price=line.unit_price, title=line.title)
            for line in lines_of(conn, row["id"])
        ],
    )


def codes_at(conn: sa.Connection, location: str, variants: Sequence[str]) -> dict[str, str]:
    """The code of each variant in the numbering that the location's own stock is told in.

    A variant that the location does not list has the code that made it.
    """
    found: dict[str, str] = {}
    for variant, known in read_known(conn, sorted(set(variants))).items():
        here = sorted(
            (fact.kind != "stock_level", fact.record is None, fact.code)
            for fact in known.facts if fact.location == location
        )
        found[variant] = here[0][2] if here else variant.partition(":")[2]
    return found


def _candidates(conn: sa.Connection) -> list[Candidate]:
    """Every location with the agent that can place orders there, the one heard from latest if there are several."""
    active = sa.select(agent_table).where(agent_table.c.status == "active")
    heard = active.order_by(agent_table.c.last_seen_at.nulls_first(), agent_table.c.id)
    agents: dict[str, tuple[str | None, str]] = {}
    for row in conn.execute(heard).mappings():
        beat = msgspec.json.decode(row["heartbeat"], type=_Beat) if row["heartbeat"] else _Beat()
        if beat.orders is not None:
            agents[row["location_id"]] = (row["id"], "")
        else:
            agents.setdefault(row["location_id"], (None, "has no agent that takes orders."))
    return [
        Candidate(location, phase, *agents.get(location, (None, "has no agent.")))
        for location, phase in read_phases(conn).items()
    ]


def _waits_for(conn: sa.Connection, pool: Sequence[str]) -> list[str]:
    """The locations whose agents must first tell what they have, after the database was restored."""
    since = conn.execute(sa.select(note.c.value).where(note.c.name == WAIT_SINCE)).scalar()
    if since is None:
        return []
    restored = dt.datetime.fromisoformat(since)
    query = sa.select(agent_table.c.location_id, agent_table.c.heartbeat, agent_table.c.orders_told_at).where(
        agent_table.c.status == "active", agent_table.c.enrolled_at < restored
    )
    waiting = {
        row.location_id for row in conn.execute(query)
        if (row.heartbeat is None or msgspec.json.decode(row.heartbeat, type=_Beat).orders is not None)
        and (row.orders_told_at is None or row.orders_told_at < restored)
    }
    return sorted(one for one in waiting if "*" in pool or one in pool)


class _Beat(msgspec.Struct):
    """The part of a kept heartbeat that says whether the agent takes orders."""

    orders: Mapping[str, object] | None = None


def _without(known: Known, order: str) -> Known:
    """What is known without this order's reservation, and without those of others that have no place either.

    Two orders that wait would otherwise each take the stock of every location from the other, and both stay.
    """
    kept = tuple(one for one in known.reservations if one.order != order and one.location != NOWHERE)
    return Known(known.variant, known.codes, known.facts, known.movements, kept, known.orders_through)
