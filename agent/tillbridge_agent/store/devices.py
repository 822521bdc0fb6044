"""Devices in the database: the last label of each and its counts, in one transaction with the scans themselves."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from tillbridge_agent.devices.handshake import Kept
from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import SQL
from tillbridge_protocol.changes import Change
from tillbridge_protocol.records import Scan


@dataclass(frozen=True)
class DeviceRow:
    """What is known of one device: its last label, when it came (UTC ISO), and its counts."""

    kept: Kept | None
    last_at: str | None
    scans: int
    repeated: int
    noise: int


def read_device(conn: sqlite3.Connection, name: str) -> DeviceRow:
    """The device of this name; one that was never heard of has nothing."""
    row = conn.execute(SQL["device_get"], (name,)).fetchone()
    if row is None:
        return DeviceRow(None, None, 0, 0, 0)
    kept = None if row["last_text"] is None else Kept(row["last_text"], row["last_symbology"], bool(row["acked"]))
    return DeviceRow(kept, row["last_at"], row["scans"], row["repeated"], row["noise"])


def keep_scans(
    conn: sqlite3.Connection, name: str, changes: Sequence[Change], *, repeated: int, noise: int, acked: bool, at: str,
) -> None:
    """Queue the scans of one read, and note the last of them and the counts. `acked`: no answer is awaited."""
    last = changes[-1].record if changes else None
    assert last is None or isinstance(last, Scan)
    outbox.put_changes(conn, changes, at)
    outbox.count(conn, "scans", len(changes))
    conn.execute(SQL["device_put"], {
        "name": name, "text": last.text if last else None, "symbology": last.symbology if last else None,
        "at": at, "acked": int(acked), "scans": len(changes), "repeated": repeated, "noise": noise,
    })


def note_acked(conn: sqlite3.Connection, name: str) -> None:
    """The device has surely heard the answer to its last label."""
    conn.execute(SQL["device_acked"], (name,))
