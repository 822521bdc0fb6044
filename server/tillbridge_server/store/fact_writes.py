"""Writing facts: the latest truth per (location, feed, kind, code), every version in the history, dirty variants."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tillbridge_protocol.changes import Change, FeedInfo
from tillbridge_protocol.records import StockLevel, fields_of
from tillbridge_server.store.tables import dirty, fact, fact_history, numbering_code, variant

T = TypeVar("T")
IN_LIST_MAX = 500
_KEY = ("location_id", "feed", "kind", "code")


@dataclass(frozen=True)
class Where:
    """Whose facts are written, by which agent, and the instant of this transaction (UTC)."""

    location: str
    agent: str
    now: dt.datetime


def apply_changes(
    conn: sa.Connection, where: Where, feeds: Mapping[str, FeedInfo], changes: Sequence[Change],
) -> int:
    """Put these state changes into the facts; returns how many differed from what was known.

    The same value again only renews its provenance and as-of, and makes no history and nothing dirty.
    """
    rows = {(change.feed, change.kind, change.key): fact_row(where, change) for change in changes}
    return write_rows(conn, where, {name: info.numbering for name, info in feeds.items()}, list(rows.values()))


def write_rows(
    conn: sa.Connection, where: Where, numberings: Mapping[str, str], rows: Sequence[dict[str, Any]],
) -> int:
    """Upsert fact rows (one per key); history and dirty variants for those that differ. Returns that number."""
    known = _known(conn, where, rows)
    differing: list[dict[str, Any]] = []
    renewed: list[dict[str, Any]] = []
    for row in rows:
        before = known.get((row["feed"], row["kind"], row["code"]))
        same = (row["gone"], row["value"]) == before or (before is None and row["gone"])
        (renewed if same else differing).append(row)
    upsert(conn, fact, [*differing, *(row for row in renewed if not row["gone"])], _KEY)
    if differing:
        conn.execute(fact_history.insert(), differing)
    codes = {(numberings[row["feed"]], row["code"]) for row in differing}
    touch(conn, sorted(_variants(conn, sorted(codes), where.now)), where.now)
    return len(differing)


def touch(conn: sa.Connection, variants: Sequence[str], now: dt.datetime) -> None:
    """Mark variants whose offers must be decided again.

    Only rows are added and none is read: many stores sell the same items at the same moment, and must not collide.
    """
    if variants:
        conn.execute(dirty.insert(), [{"variant_id": one, "since": now} for one in variants])


def touch_feed(
    conn: sa.Connection, location: str, feed: str, numberings: Sequence[str], now: dt.datetime,
) -> None:
    """A feed joins its facts anew (numbering or absence changed): all it speaks of, before and now, is dirty."""
    query = sa.select(fact.c.code).where(fact.c.location_id == location, fact.c.feed == feed).distinct()
    codes = conn.execute(query).scalars().all()
    pairs = sorted({(numbering, code) for numbering in numberings for code in codes})
    touch(conn, sorted(_variants(conn, pairs, now)), now)


def fact_row(where: Where, change: Change) -> dict[str, Any]:
    """A change as a row of `fact`."""
    record = change.record
    fields = fields_of(record) if record is not None else {}
    fields.pop("as_of", None)
    as_of = record.as_of if isinstance(record, StockLevel) else None
    return {
        "location_id": where.location, "feed": change.feed, "kind": change.kind, "code": change.key,
        "gone": change.op == "gone", "value": compact(fields),
        "as_of_from": as_of.from_ if as_of else None, "as_of_to": as_of.to if as_of else None,
        "as_of_kind": as_of.kind if as_of else None,
        "file": change.source.file, "sha256": change.source.sha256, "line": change.source.line,
        "text": change.source.text, "agent_id": where.agent,
        "captured_at": change.source.captured_at, "applied_at": where.now,
    }


def upsert(conn: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], key: Sequence[str]) -> None:
    """INSERT … ON CONFLICT (key) DO UPDATE of every other column, for each row."""
    if not rows:
        return
    insert = _insert(conn, table)
    statement = insert.on_conflict_do_update(
        index_elements=list(key), set_={name: insert.excluded[name] for name in rows[0] if name not in key}
    )
    conn.execute(statement, list(rows))


def chunks(items: Sequence[T], size: int = IN_LIST_MAX) -> Iterator[Sequence[T]]:
    """The items in slices that fit an IN list on every database."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def compact(value: object) -> str:
    """JSON text with sorted keys and no spaces, so that equal values are equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _insert(conn: sa.Connection, table: sa.Table) -> Any:
    """The dialect's own INSERT, the one that knows ON CONFLICT."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def _known(
    conn: sa.Connection, where: Where, rows: Sequence[dict[str, Any]],
) -> dict[tuple[str, str, str], tuple[bool, str]]:
    """(gone, value) of the facts these rows would replace, by (feed, kind, code)."""
    found: dict[tuple[str, str, str], tuple[bool, str]] = {}
    for feed, kind in sorted({(row["feed"], row["kind"]) for row in rows}):
        codes = sorted(row["code"] for row in rows if (row["feed"], row["kind"]) == (feed, kind))
        for some in chunks(codes):
            query = sa.select(fact.c.code, fact.c.gone, fact.c.value).where(
                fact.c.location_id == where.location, fact.c.feed == feed, fact.c.kind == kind, fact.c.code.in_(some)
            )
            found.update({(feed, kind, row.code): (row.gone, row.value) for row in conn.execute(query)})
    return found


def _variants(conn: sa.Connection, codes: Sequence[tuple[str, str]], now: dt.datetime) -> set[str]:
    """The variants of these (numbering, code) pairs; a code never seen becomes a variant of its own."""
    found: dict[tuple[str, str], str] = {}
    for numbering in sorted({numbering for numbering, _ in codes}):
        for some in chunks([code for of, code in codes if of == numbering]):
            query = sa.select(numbering_code.c.code, numbering_code.c.variant_id).where(
                numbering_code.c.numbering == numbering, numbering_code.c.code.in_(some)
            )
            found.update({(numbering, row.code): row.variant_id for row in conn.execute(query)})
    new = [pair for pair in codes if pair not in found]
    if new:
        rows = [{"id": f"{numbering}:{code}", "created_at": now} for numbering, code in new]
        conn.execute(_insert(conn, variant).on_conflict_do_nothing(), rows)
        links = [
            {"numbering": numbering, "code": code, "variant_id": f"{numbering}:{code}", "linked_by": "system",
             "linked_at": now}
            for numbering, code in new
        ]
        conn.execute(_insert(conn, numbering_code).on_conflict_do_nothing(), links)
    return set(found.values()) | {f"{numbering}:{code}" for numbering, code in new}
