"""Marking variants dirty because something of them was sold or scanned: it may move stock, or prove an order."""

import datetime as dt
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from tillbridge_protocol.changes import Change, FeedInfo
from tillbridge_protocol.records import SaleLine, Scan
from tillbridge_server.store.fact_writes import chunks, touch
from tillbridge_server.store.tables import numbering_code


def touch_sold(
    conn: sa.Connection, feeds: Mapping[str, FeedInfo], changes: Iterable[Change], now: dt.datetime,
) -> int:
    """The variants of these sale lines and scans are decided again; returns how many.

    A code that no feed has ever listed is no variant: it stays a line of the ledger.
    """
    sold: dict[str, set[str]] = {}
    for change in changes:
        if isinstance(change.record, SaleLine):
            sold.setdefault(feeds[change.feed].numbering, set()).add(change.record.code)
        elif isinstance(change.record, Scan):
            sold.setdefault(feeds[change.feed].numbering, set()).add(change.record.text)
    variants: set[str] = set()
    for numbering, codes in sorted(sold.items()):
        for some in chunks(sorted(codes)):
            query = sa.select(numbering_code.c.variant_id).where(
                numbering_code.c.numbering == numbering, numbering_code.c.code.in_(some)
            )
            variants.update(conn.execute(query).scalars())
    touch(conn, sorted(variants), now)
    return len(variants)
