"""Reading the ledger: events as they were appended, with their sources."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from tillbridge_server.core.facts import Source
from tillbridge_server.store.facts_reading import source_of
from tillbridge_server.store.tables import ledger


@dataclass(frozen=True)
class Entry:
    """One event; `price` per piece, None where the till did not tell."""

    id: str
    kind: str
    location: str
    code: str
    quantity: Decimal | None
    price: Decimal | None
    at: dt.datetime
    source: Source


def read_entries(
    conn: sa.Connection, kind: str, *, location: str | None = None, code: str | None = None,
) -> Iterator[Entry]:
    """The events of a kind sorted by id and location, of one location or code if named."""
    query = sa.select(ledger).where(ledger.c.kind == kind).order_by(ledger.c.id, ledger.c.location_id)
    if location is not None:
        query = query.where(ledger.c.location_id == location)
    if code is not None:
        query = query.where(ledger.c.code == code)
    for row in conn.execute(query).mappings():
        yield Entry(
            row["id"], row["kind"], row["location_id"], row["code"], row["quantity"], row["price"], row["at"],
            source_of(dict(row)),
        )
