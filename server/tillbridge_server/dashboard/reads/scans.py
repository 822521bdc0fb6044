"""Scans as the screen reads them: newest first, with the SKU whose code was scanned, and the scanners themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from tillbridge_protocol.heartbeat import DeviceHealth
from tillbridge_server.dashboard.reads.fleet import fleet
from tillbridge_server.dashboard.reads.skus import json_object, location_names, title_of
from tillbridge_server.store.tables import feed, ledger, numbering_code

ROWS = 20


@dataclass(frozen=True)
class ScanRow:
    """One scan; `variant` is "" when no SKU of the device's numbering has this code."""

    location: str
    place: str
    device: str
    at: datetime
    text: str
    symbology: str
    numbering: str
    variant: str
    title: str


@dataclass(frozen=True)
class ScannerRow:
    """One scanner as its agent last told; `offline` when the agent has been silent since."""

    location: str
    place: str
    health: DeviceHealth
    offline: bool


@dataclass(frozen=True)
class ScanPage:
    """One page of scans, newest first, of one location or of all."""

    rows: list[ScanRow]
    total: int
    page: int
    pages: int
    scanners: list[ScannerRow]


def scan_page(
    conn: sa.Connection, now: datetime, offline_after: timedelta, store: str, page: int,
) -> ScanPage:
    """Twenty scans; `store` "" means all locations, `page` counts from 1."""
    where = [ledger.c.kind == "scan"] + ([ledger.c.location_id == store] if store else [])
    total = int(conn.scalar(sa.select(sa.func.count()).select_from(ledger).where(*where)) or 0)
    pages = max(1, -(-total // ROWS))
    page = min(page, pages)
    names = location_names(conn)
    query = (
        sa.select(
            ledger.c.location_id, ledger.c.feed, ledger.c.at, ledger.c.code, ledger.c.value, feed.c.numbering,
            numbering_code.c.variant_id,
        )
        .outerjoin(feed, sa.and_(feed.c.location_id == ledger.c.location_id, feed.c.name == ledger.c.feed))
        .outerjoin(numbering_code, sa.and_(
            numbering_code.c.numbering == feed.c.numbering, numbering_code.c.code == ledger.c.code
        ))
        .where(*where).order_by(ledger.c.at.desc(), ledger.c.id).limit(ROWS).offset((page - 1) * ROWS)
    )
    rows = []
    for row in conn.execute(query).all():
        value = json_object(row.value)
        variant = row.variant_id or ""
        rows.append(ScanRow(
            row.location_id, names.get(row.location_id, row.location_id), str(value.get("device") or row.feed), row.at,
            row.code, str(value.get("symbology") or ""), row.numbering or "", variant,
            (title_of(conn, variant) or "") if variant else "",
        ))
    scanners = [
        ScannerRow(place.id, place.name, device, agent.offline)
        for place in sorted(fleet(conn, now, offline_after, store or None), key=lambda place: (place.name, place.id))
        for agent in place.agents if agent.heartbeat is not None for device in agent.heartbeat.devices
    ]
    return ScanPage(rows, total, page, pages, scanners)
