"""What is told of a web order: one queued event per step, and whether head office has them all."""

import datetime as dt
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from tillbridge_agent.store.database import SQL
from tillbridge_protocol.changes import Change, encode_change
from tillbridge_protocol.orders import FINAL, ORDERS_FEED
from tillbridge_protocol.records import OrderState

KIND = "order_state"
#: Reasons are for people; a till's answer may be long.
MESSAGE_CHARS_MAX = 500


def tell(conn: sqlite3.Connection, row: Mapping[str, Any] | sqlite3.Row) -> None:
    """Queue the order's state as it is now, under a fresh random id."""
    record = OrderState(
        id=secrets.token_hex(8), order=row["id"], revision=row["revision"], state=row["state"],
        at=dt.datetime.fromisoformat(row["state_at"]), sequence=row["sequence"], file=row["file"], code=row["code"],
        message=row["message"],
    )
    change = Change(feed=ORDERS_FEED, kind=KIND, key=record.id, op="put", record=record)
    conn.execute(SQL["event_put"], (ORDERS_FEED, KIND, record.id, encode_change(change), row["state_at"]))


def tell_all(conn: sqlite3.Connection) -> None:
    """In a new epoch: the present state of the newest revision of every order that is not final."""
    for row in conn.execute(SQL["order_latest_all"]).fetchall():
        if row["state"] not in FINAL:
            tell(conn, row)


def unacked(conn: sqlite3.Connection) -> bool:
    """Whether a state of an order is queued, or in the batch in flight."""
    return any(conn.execute(SQL[name]).fetchone() for name in ("order_state_queued", "order_state_frozen"))
