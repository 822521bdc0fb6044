"""The verbs of the admin door: each is one transaction and returns the document its command prints."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tillbridge_protocol.limits import CODE_LIFE_S
from tillbridge_server import reports
from tillbridge_server.agents import enrollment, fleet
from tillbridge_server.backups import make_backup
from tillbridge_server.config import BackupConfig
from tillbridge_server.dashboard import people
from tillbridge_server.door import Call, Verb
from tillbridge_server.errors import Refused
from tillbridge_server.store import activation, deciding, order_intake, order_reading, orders

BY = "command line"


def invite(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """A one-time code for one machine of a location; makes the location if it is new."""
    wanted = call.arguments
    new = enrollment.ensure_location(
        conn, location_id=wanted["location"], name=wanted["name"] or "", phase=wanted["phase"] or "observe",
        time_zone=wanted["time_zone"] or call.config.time_zone, by=BY, now=call.now,
    )
    if not new and wanted["phase"]:
        enrollment.set_phase(conn, location_id=wanted["location"], phase=wanted["phase"], by=BY, now=call.now)
        deciding.touch_all(conn, call.now)
    code = enrollment.make_invite(
        conn, location_id=wanted["location"], random_bytes=secrets.token_bytes(16), root=call.root, by=BY, now=call.now
    )
    url = call.config.public_url.rstrip("/")
    return {"v": 1, "location": wanted["location"], "url": url, "code": code.text(), "life_s": CODE_LIFE_S}


def phase(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Switch a location to another phase; its offers are decided again."""
    location, wanted = call.arguments["location"], call.arguments["phase"]
    if enrollment.phase_of(conn, location) is None:
        raise Refused("location", f"There is no location {location!r}.", "Make it with `invite --location ID`.")
    enrollment.set_phase(conn, location_id=location, phase=wanted, by=BY, now=call.now)
    deciding.touch_all(conn, call.now)
    return {"v": 1, "location": location, "phase": wanted}


def offers(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """What each storefront should show, and what we know it shows."""
    return reports.offers(
        conn, call.config, storefront=call.arguments["storefront"], variant=call.arguments["variant"], now=call.now
    )


def explain(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Why a storefront shows what it shows for a variant or code."""
    return reports.explain(
        conn, call.config, call.arguments["what"], storefront=call.arguments["storefront"],
        at=call.arguments["at"], now=call.now,
    )


def ledger(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """The ledger entries of one kind."""
    return reports.ledger(conn, kind=call.arguments["kind"])


def list_holds(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """What waits for a person."""
    return reports.holds(conn)


def decide(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Approve or reject a hold."""
    wanted = call.arguments
    state = reports.decide_hold(conn, wanted["hold"], wanted["verdict"], by=BY, why=wanted["why"], now=call.now)
    return {"v": 1, "hold": wanted["hold"], "state": state}


def dead_letters(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """What was finally refused."""
    return reports.dead_letters(conn)


def activate(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Let variants be shown in a storefront."""
    wanted = call.arguments
    storefront = wanted["storefront"] or (call.config.storefronts[0].id if call.config.storefronts else "")
    if call.config.storefront(storefront) is None:
        raise Refused("storefront", f"There is no storefront {storefront!r}.", "Name one of server.toml.")
    if wanted["all"]:
        done = activation.activate_all(conn, storefront, by=BY, why=wanted["why"], now=call.now)
    else:
        variants = reports.variants_of(conn, wanted["variants"])
        done = activation.activate(conn, storefront, variants, by=BY, why=wanted["why"], now=call.now)
    return {"v": 1, "storefront": storefront, "activated": done}


def revoke(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Refuse an agent's key from now on."""
    done = fleet.revoke(conn, call.arguments["agent"], BY, call.arguments["why"], call.now)
    if not done:
        raise Refused("agent", f"There is no agent {call.arguments['agent']!r}.", "See `tillbridge-server agents`.")
    order_intake.withdraw(conn, call.arguments["agent"], call.now)
    return {"v": 1, "agent": call.arguments["agent"], "status": "revoked"}


def agents(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Every agent with its state."""
    return reports.agents(conn)


def person(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """Let a person sign in, or set their password anew."""
    name, hashed = call.arguments["name"], call.arguments["hashed"]
    if not people.any_person(conn):
        people.add_first_person(conn, name, hashed, call.now)
    elif people.password_hash_of(conn, name) is None:
        people.add_person(conn, name, hashed, BY, call.now)
    else:
        people.set_password(conn, name, hashed, BY, call.now)
    return {"v": 1, "person": name}


def back_up(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """A verified backup now."""
    plan = call.config.backup or BackupConfig()
    folder = Path(call.arguments["folder"]) if call.arguments["folder"] else call.config.folder / plan.folder
    return make_backup(conn, folder, plan.keep, call.now)


def list_orders(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """The web orders that are not at rest, or all."""
    return order_reading.list_orders(conn, everything=call.arguments["all"], now=call.now)


def show_order(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """One web order with all that is known of it."""
    return order_reading.show_order(conn, call.arguments["order"], call.now)


def mark_order(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """A person says what is so with an order."""
    wanted = call.arguments
    state = orders.mark(conn, wanted["order"], wanted["mark"], BY, wanted["why"], call.now)
    return {"v": 1, "order": wanted["order"], "state": state}


def route_order(conn: sa.Connection, call: Call) -> dict[str, Any]:
    """A person sends an order to a location."""
    wanted = call.arguments
    location = orders.route(conn, call.config, wanted["order"], wanted["location"], BY, wanted["why"], call.now)
    return {"v": 1, "order": wanted["order"], "location": location}


VERBS: Mapping[str, Verb] = {
    "invite": invite,
    "phase": phase,
    "offers": offers,
    "explain": explain,
    "ledger": ledger,
    "holds": list_holds,
    "decide": decide,
    "dead-letters": dead_letters,
    "activate": activate,
    "revoke": revoke,
    "agents": agents,
    "backup": back_up,
    "person": person,
    "orders-list": list_orders,
    "orders-show": show_order,
    "orders-mark": mark_order,
    "orders-route": route_order,
}
