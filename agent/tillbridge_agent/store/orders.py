"""Web orders in the agent's database: each change of a state is one transaction with its queued event.

A row stays for ever, so that no order is placed twice; what the order holds is forgotten a week after it came
to rest. Nothing may be placed before head office has acked every state and, in this life of the process and
this epoch, has said what it knows (DESIGN §5.7).
"""

import datetime as dt
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tillbridge_agent import crash
from tillbridge_agent.core.placement import DOUBT_REASONS, Evidence, Own, Ruling, rule
from tillbridge_agent.store import order_states, outbox
from tillbridge_agent.store.database import SQL
from tillbridge_agent.store.order_states import MESSAGE_CHARS_MAX, tell
from tillbridge_protocol.orders import (
    CANCELLED,
    NEVER_PLACE,
    PUBLISHED,
    READY,
    RECEIVED,
    REJECTED,
    TAKEN,
    UNCERTAIN,
    Order,
    OrderStanding,
    OrderStandings,
    follow,
    leads_to,
)
from tillbridge_protocol.positions import Position

EPOCH, LIFE, SEQUENCE = "orders_epoch", "orders_boot", "orders_sequence"
FORGET_AFTER = dt.timedelta(days=7)
_LISTED_MAX = 500
Kept = Literal["new", "known", "older", "conflict"]


@dataclass(frozen=True)
class Waits:
    """Whether orders may be placed: told in this life and epoch, and nothing of ours unacked."""

    told: bool
    unacked: bool
    position: Position | None


# -- coming in -------------------------------------------------------------------------------------------------------

def keep(conn: sqlite3.Connection, order: Order, payload: bytes, sha256: str, now: str) -> Kept:
    """Keep an order of head office as `received`; the same one again changes nothing.

    A lower revision that is not placed yet is called off. `conflict`: the same order and revision with other
    bytes; it is never placed, and what was not written yet of the first is `rejected`.
    """
    newest = _newest(conn, order.id)
    if newest is not None and newest["revision"] > order.revision:
        return "older"
    if newest is not None and newest["revision"] == order.revision:
        if newest["sha256"] in ("", sha256):
            return "known"
        if newest["state"] == RECEIVED:
            words = "Head office has sent two different orders under one number; neither is placed."
            _move(conn, newest, REJECTED, now, "order_conflict", words)
        return "conflict"
    _replace_lower(conn, order.id, order.revision, now)
    _insert(conn, order.id, order.revision, RECEIVED, now, payload=payload, sha256=sha256,
            placed_at=order.placed_at.isoformat())
    outbox.count(conn, "orders_received")
    return "new"


def order_of(row: Mapping[str, Any] | sqlite3.Row) -> Order | None:
    """What the order holds; None when it is forgotten or was never here."""
    return None if row["payload"] is None else msgspec.json.decode(row["payload"], type=Order)


# -- permission ------------------------------------------------------------------------------------------------------

def waits(conn: sqlite3.Connection, life: str) -> Waits:
    """What placing waits for."""
    return Waits(_told(conn, life), order_states.unacked(conn), outbox.position(conn))


def permit(conn: sqlite3.Connection, life: str) -> bool:
    """Whether orders may be placed now; if so, every received one is confirmed: its `received` is acked."""
    if not _told(conn, life) or order_states.unacked(conn):
        return False
    conn.execute(SQL["order_confirm"])
    return True


def _told(conn: sqlite3.Connection, life: str) -> bool:
    at = outbox.position(conn)
    return at is not None and (outbox.meta(conn, EPOCH), outbox.meta(conn, LIFE)) == (at.epoch, life)


# -- placing ---------------------------------------------------------------------------------------------------------

def to_place(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Orders that are not placed yet, oldest first."""
    return _rows(conn, "order_to_place")


def next_sequence(conn: sqlite3.Connection) -> int:
    """The number the next import file gets; drawn for good by `reserve`."""
    return int(outbox.meta(conn, SEQUENCE) or 0) + 1


def reserve(
    conn: sqlite3.Connection, life: str, order: str, revision: int, *, nonce: str, sequence: int, file: str,
) -> bool:
    """Persist nonce, number and file name before anything can be seen outside; False when placing is not permitted.

    Only an order whose `received` is acked gets them.
    """
    if not _told(conn, life) or sequence != next_sequence(conn):
        return False
    if conn.execute(SQL["order_reserve"], (nonce, sequence, file, order, revision)).rowcount == 0:
        return False
    outbox.put_meta(conn, SEQUENCE, str(sequence))
    return True


def ready(
    conn: sqlite3.Connection, life: str, order: str, revision: int, now: str, *, file_sha256: str, message: str,
) -> bool:
    """The spool file is written and durable; False when the order was decided otherwise, or nothing may be placed."""
    row = one(conn, order, revision)
    if row is None or row["state"] != RECEIVED or not _told(conn, life):
        return False
    _move(conn, row, READY, now, None, message or None, file_sha256=file_sha256)
    return True


def step(
    conn: sqlite3.Connection, order: str, revision: int, state: str, now: str, *, code: str | None = None,
    message: str | None = None, mark: tuple[int, str] | None = None,
) -> bool:
    """Take our own steps to this state, with its event; False, and nothing changes, where none lead there.

    `mark`: sequence and file of a mark, for an order that was placed under them.
    """
    row = one(conn, order, revision)
    if row is None or not leads_to(row["state"], state):
        return False
    named: dict[str, Any] = {"sequence": mark[0], "file": mark[1]} if mark else {}
    _move(conn, row, state, now, code, message, **named)
    return True


def published(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Orders whose import file lies in the import folder, as far as we know."""
    return _rows(conn, "order_of_state", PUBLISHED)


# -- what people and head office say ---------------------------------------------------------------------------------

def mark(conn: sqlite3.Connection, order: str, revision: int, event: str, now: str, message: str) -> str | None:
    """A person's word about an order, as the table allows it; the new state, or None when it does not."""
    row = one(conn, order, revision)
    state = None if row is None else follow(row["state"], event)
    if row is not None and state is not None:
        _move(conn, row, state, now, None, message)
    return state


def mark_told(
    conn: sqlite3.Connection, order: str, revision: int, state: str, now: str, message: str,
) -> bool:
    """Head office says an order is in the till, or called off: it is not placed any more, whatever it was here.

    Also one that never came here, so that it is not placed when it comes late.
    """
    newest = _newest(conn, order)
    if newest is None or newest["revision"] < revision:
        _replace_lower(conn, order, revision, now)
        _insert(conn, order, revision, state, now, message=message)
        return True
    row = one(conn, order, revision)
    event = "cancelled" if state == CANCELLED else "imported"
    if row is None or (row["state"] in NEVER_PLACE and follow(row["state"], event) != state):
        return False
    _move(conn, row, state, now, None, message)
    return True


# -- standings -------------------------------------------------------------------------------------------------------

def evidence_needed(conn: sqlite3.Connection, told: OrderStandings) -> list[tuple[str, int, str | None]]:
    """Order, revision and file of everything that the folders must say something about before `apply`."""
    changed = outbox.meta(conn, EPOCH) != told.epoch
    needed = {
        (row["id"], row["revision"]): row["file"] for row in conn.execute(SQL["order_to_place"]) if changed
    }
    for standing in told.orders:
        if one(conn, standing.order, standing.revision) is None:
            needed[standing.order, standing.revision] = None
    return [(order, revision, file) for (order, revision), file in sorted(needed.items())]


def apply(
    conn: sqlite3.Connection, told: OrderStandings, seen: Mapping[tuple[str, int], Evidence], highest: int, life: str,
    now: str,
) -> bool:
    """Take over what head office knows of our orders; afterwards placing is permitted in this life and epoch.

    `highest`: the highest sequence number any mark names. False, and nothing changes, when the epoch is another
    one by now, or when an order came meanwhile that the evidence says nothing of.
    """
    at = outbox.position(conn)
    needed = {(order, revision) for order, revision, _ in evidence_needed(conn, told)}
    if at is None or at.epoch != told.epoch or order_states.unacked(conn) or needed - seen.keys():
        return False
    changed = outbox.meta(conn, EPOCH) != told.epoch
    standings = {standing.order: standing for standing in told.orders}
    for row in conn.execute(SQL["order_latest_all"]).fetchall():
        _rule_own(conn, row, standings.get(row["id"]), seen, told.epoch, changed, now)
    for standing in told.orders:
        _rule_unknown(conn, standing, seen, told.epoch, now)
    sequence = max(next_sequence(conn) - 1, told.sequence, highest)
    for name, value in ((SEQUENCE, str(sequence)), (EPOCH, told.epoch), (LIFE, life)):
        outbox.put_meta(conn, name, value)
    crash.reach("standings.writing")
    return True


def _rule_own(
    conn: sqlite3.Connection, row: sqlite3.Row, standing: OrderStanding | None,
    seen: Mapping[tuple[str, int], Evidence], epoch: str, changed: bool, now: str,
) -> None:
    if standing is not None and standing.revision > row["revision"]:
        _replace_lower(conn, row["id"], standing.revision, now)
        return
    if standing is not None and standing.revision < row["revision"]:
        standing = None
    found = seen.get((row["id"], row["revision"]), Evidence())
    ruled = rule(own_of(row), standing, found, epoch=epoch, changed=changed)
    if ruled.ruling is Ruling.ADOPT and standing is not None:
        named = _named(found) if row["file"] is None else {}  # its file is watched from now on
        _move(conn, row, standing.state, now, row["code"], row["message"], told=False, **named)
    elif ruled.ruling is Ruling.PUBLISH:
        _move(conn, row, PUBLISHED, now, None, None, **_named(found))
    elif ruled.ruling is Ruling.DOUBT:
        _move(conn, row, UNCERTAIN, now, ruled.code, DOUBT_REASONS[ruled.code])


def _rule_unknown(
    conn: sqlite3.Connection, standing: OrderStanding, seen: Mapping[tuple[str, int], Evidence], epoch: str, now: str,
) -> None:
    newest = _newest(conn, standing.order)
    if newest is not None and newest["revision"] >= standing.revision:
        return
    found = seen.get((standing.order, standing.revision), Evidence())
    ruled = rule(None, standing, found, epoch=epoch, changed=True)
    named = _named(found)
    if ruled.ruling is Ruling.ADOPT:
        _insert(conn, standing.order, standing.revision, standing.state, now, told=False, **named)
    elif ruled.ruling is Ruling.PUBLISH:
        _insert(conn, standing.order, standing.revision, PUBLISHED, now, **named)
    elif ruled.ruling is Ruling.DOUBT:
        _insert(conn, standing.order, standing.revision, UNCERTAIN, now, code=ruled.code,
                message=DOUBT_REASONS[ruled.code], **named)


def _named(seen: Evidence) -> dict[str, Any]:
    """Sequence and file of the mark, for an order that was placed, or may have been, under them."""
    if seen.mark is None or not seen.mark.file:
        return {}
    return {"sequence": seen.mark.sequence, "file": seen.mark.file, "file_sha256": seen.mark.moving or None}


# -- looking -----------------------------------------------------------------------------------------------------------

def own_of(row: Mapping[str, Any] | sqlite3.Row, *, late: bool = False) -> Own:
    """The row as the rules of placement see it."""
    return Own(row["state"], row["nonce"], row["file_sha256"], bool(row["confirmed"]), late)


def one(conn: sqlite3.Connection, order: str, revision: int) -> dict[str, Any] | None:
    """One order and revision."""
    row = conn.execute(SQL["order_get"], (order, revision)).fetchone()
    return None if row is None else dict(row)


def newest(conn: sqlite3.Connection, order: str) -> dict[str, Any] | None:
    """The newest revision of an order."""
    return _newest(conn, order)


def listed(conn: sqlite3.Connection, *, every: bool) -> list[dict[str, Any]]:
    """The newest revision of the orders that something still becomes of, or of all, by number."""
    rows = _rows(conn, "order_latest_all")
    if every:
        return rows
    return [row for row in rows if row["state"] not in ("accepted", "sold", "counted", CANCELLED)]


def counts(conn: sqlite3.Connection) -> dict[str, int]:
    """How many orders are in each state, each by its newest revision."""
    return {row["state"]: row["n"] for row in conn.execute(SQL["order_counts"])}


def attention(conn: sqlite3.Connection, answered_before: str) -> list[dict[str, Any]]:
    """Orders that may need a person: in doubt, refused, too late, or without an answer of the till since then."""
    rows = _rows(conn, "order_waiting")
    quiet = (PUBLISHED, TAKEN)
    never = (RECEIVED, READY)
    return [
        row for row in rows
        if row["state"] not in never and (row["state"] not in quiet or row["state_at"] < answered_before)
    ][:_LISTED_MAX]


def forget(conn: sqlite3.Connection, now: dt.datetime) -> int:
    """Forget what orders held that came to rest a week ago; the rows stay. Returns how many."""
    return conn.execute(SQL["order_forget"], ((now - FORGET_AFTER).isoformat(),)).rowcount


# -- writing -----------------------------------------------------------------------------------------------------------

def _newest(conn: sqlite3.Connection, order: str) -> dict[str, Any] | None:
    row = conn.execute(SQL["order_latest"], (order,)).fetchone()
    return None if row is None else dict(row)


def _rows(conn: sqlite3.Connection, name: str, *args: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(SQL[name], args)]


def _insert(
    conn: sqlite3.Connection, order: str, revision: int, state: str, now: str, *, payload: bytes | None = None,
    sha256: str = "", placed_at: str = "", sequence: int | None = None, file: str | None = None,
    file_sha256: str | None = None, code: str | None = None, message: str | None = None, told: bool = True,
) -> None:
    row = {
        "id": order, "revision": revision, "state": state, "payload": payload, "sha256": sha256,
        "placed_at": placed_at, "received_at": now, "state_at": now, "sequence": sequence, "file": file,
        "file_sha256": file_sha256, "code": code, "message": message,
    }
    conn.execute(SQL["order_put"], row)
    if told:
        tell(conn, row)


def _move(
    conn: sqlite3.Connection, row: Mapping[str, Any] | sqlite3.Row, state: str, now: str, code: str | None,
    message: str | None, *, told: bool = True, **values: Any,
) -> None:
    """The new state and its event, in the caller's transaction."""
    after = {**dict(row), "state": state, "state_at": now, "code": code, **values}
    after["message"] = message[:MESSAGE_CHARS_MAX] if message else None
    conn.execute(SQL["order_move"], after)
    outbox.count(conn, f"orders_{state}")
    if told:
        tell(conn, after)


def _replace_lower(conn: sqlite3.Connection, order: str, revision: int, now: str) -> None:
    """Revisions that were not placed never will be; head office hears only of the newest."""
    for row in conn.execute(SQL["order_replaced"], (order, revision)).fetchall():
        _move(conn, row, CANCELLED, now, "replaced", f"Replaced by revision {revision}.", told=False)
