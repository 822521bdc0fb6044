"""Appending events to the ledger: each natural id once; a second content under it is kept beside and reported."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa

from tillbridge_protocol.changes import Change
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.records import OrderState, Record, SaleLine, Scan, fields_of, key_of
from tillbridge_server.store.fact_writes import Where, chunks, compact
from tillbridge_server.store.tables import ledger


def append(
    conn: sa.Connection, where: Where, events: Iterable[tuple[int, Change]],
) -> Iterator[tuple[int, ProtocolError]]:
    """Append what is new; yields (index, conflict) for each id that came with other content.

    The same id with the same content is a repeat and moves nothing. A conflicting content is kept too,
    under "<id>!<n>", so that a person can compare (DESIGN §5.2).
    """
    events = list(events)
    known = _known(conn, where, [change for _, change in events])
    for index, change in events:
        assert change.record is not None
        content = content_of(change.kind, change.record)
        versions = known.setdefault((change.kind, change.key), [])
        if content in versions:
            continue
        versions.append(content)
        ledger_id = change.key if len(versions) == 1 else _beside(conn, where, known, change, len(versions))
        known.setdefault((change.kind, ledger_id), [content])
        conn.execute(ledger.insert().values(_row(where, ledger_id, change, content)))
        if len(versions) > 1:
            message = f"{change.kind} {change.key} is in the ledger with other content; this is kept as {ledger_id}."
            yield index, ProtocolError("conflict", message)


def _beside(
    conn: sa.Connection, where: Where, known: Mapping[tuple[str, str], list[str]], change: Change, number: int,
) -> str:
    """The id under which a conflicting content is kept; a till may itself write, or have written, "R1!2"."""
    while (change.kind, beside := f"{change.key}!{number}") in known or _content(conn, where, change.kind, beside):
        number += 1
    return beside


def content_of(kind: str, record: Record) -> str:
    """The content hash of an event: kind, id and every field."""
    fields = fields_of(record)
    return hashlib.sha256(f"{kind}\n{key_of(record)}\n{compact(fields)}".encode()).hexdigest()


def _known(conn: sa.Connection, where: Where, changes: list[Change]) -> dict[tuple[str, str], list[str]]:
    """Contents already in the ledger for these ids, conflicting ones included, in order."""
    found: dict[tuple[str, str], list[str]] = {}
    for kind in sorted({change.kind for change in changes}):
        keys = sorted({change.key for change in changes if change.kind == kind})
        for some in chunks(keys):
            query = sa.select(ledger.c.id, ledger.c.content).where(
                ledger.c.location_id == where.location, ledger.c.kind == kind, ledger.c.id.in_(some)
            )
            for row in conn.execute(query):
                found[kind, row.id] = [row.content, *_conflicts(conn, where, kind, row.id)]
    return found


def _conflicts(conn: sa.Connection, where: Where, kind: str, key: str) -> list[str]:
    """Further contents under "<id>!2", "<id>!3" and so on; almost always none."""
    contents: list[str] = []
    while (content := _content(conn, where, kind, f"{key}!{len(contents) + 2}")) is not None:
        contents.append(content)
    return contents


def _content(conn: sa.Connection, where: Where, kind: str, ledger_id: str) -> str | None:
    """The content that stands in the ledger under this id."""
    return conn.execute(sa.select(ledger.c.content).where(
        ledger.c.location_id == where.location, ledger.c.kind == kind, ledger.c.id == ledger_id
    )).scalar()


def _row(where: Where, ledger_id: str, change: Change, content: str) -> dict[str, object]:
    record = change.record
    assert isinstance(record, SaleLine | Scan | OrderState)
    sale = record if isinstance(record, SaleLine) else None
    return {
        "location_id": where.location, "kind": change.kind, "id": ledger_id, "feed": change.feed,
        "code": _about(record),
        "quantity": sale.quantity if sale else None, "price": sale.unit_price if sale else None,
        "at": record.at, "value": compact(fields_of(record)), "content": content,
        "file": change.source.file, "sha256": change.source.sha256, "line": change.source.line,
        "text": change.source.text, "agent_id": where.agent, "captured_at": change.source.captured_at,
        "applied_at": where.now,
    }


def _about(record: SaleLine | Scan | OrderState) -> str:
    """What an event is found by in the ledger: the code sold, the text scanned, the order told of."""
    if isinstance(record, SaleLine):
        return record.code
    return record.text if isinstance(record, Scan) else record.order
