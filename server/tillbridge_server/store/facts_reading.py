"""Reading what is known of variants: their codes, facts, movements and reservations, now or at an earlier instant."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.records import KINDS, Record
from tillbridge_server.core.facts import Fact, Known, Movement, Reservation, Source, meant
from tillbridge_server.store.fact_writes import chunks
from tillbridge_server.store.order_tables import order_line, web_order
from tillbridge_server.store.tables import fact, fact_history, feed, ledger, location, numbering_code, reservation

#: The kinds of facts that rules read. Costs are never part of an offer.
RULE_KINDS = ("price", "product", "stock_level")
#: The kinds of events that may move stock, where a journal or scanner is said to.
MOVING_KINDS = ("sale_line", "scan")
_Interval = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True)
class FeedInfo:
    """What is declared of one feed, and the as-of that its last accepted file confirmed for every row."""

    numbering: str
    absence: str
    as_of: _Interval | None
    as_of_kind: str | None


@dataclass(frozen=True)
class LocationInfo:
    """One location as screens and rules need it."""

    id: str
    name: str
    phase: str


def read_locations(conn: sa.Connection) -> dict[str, LocationInfo]:
    """All locations of the chain by id."""
    rows = conn.execute(sa.select(location.c.id, location.c.name, location.c.phase).order_by(location.c.id))
    return {row.id: LocationInfo(row.id, row.name, row.phase) for row in rows}


def read_phases(conn: sa.Connection) -> dict[str, str]:
    """The phase of every location."""
    return {one.id: one.phase for one in read_locations(conn).values()}


def read_codes(conn: sa.Connection, variants: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """The (numbering, code) pairs of each variant, sorted."""
    found: dict[str, list[tuple[str, str]]] = {variant: [] for variant in variants}
    for some in chunks(variants):
        query = sa.select(numbering_code.c.variant_id, numbering_code.c.numbering, numbering_code.c.code)
        for row in conn.execute(query.where(numbering_code.c.variant_id.in_(some))):
            found[row.variant_id].append((row.numbering, row.code))
    return {variant: sorted(pairs) for variant, pairs in found.items()}


def read_known(
    conn: sa.Connection, variants: Sequence[str], *, moving: Iterable[str] = (), at: dt.datetime | None = None,
) -> dict[str, Known]:
    """Everything known of these variants, now or as it was known at `at`; a handful of queries for thousands.

    `moving` names journals ("feed" or "location/feed") whose sale lines are read as movements, and scanners
    ("location/device") whose scans are.
    """
    codes = read_codes(conn, variants)
    feeds = _feeds(conn, at)
    variant_of: dict[tuple[str, str], str] = {
        pair: variant for variant, pairs in codes.items() for pair in pairs
    }
    facts: dict[str, list[Fact]] = defaultdict(list)
    for row, said in _rows_with_last(conn, feeds, variant_of, at):
        info = feeds[row["location_id"], row["feed"]]
        facts[variant_of[info.numbering, row["code"]]].append(_fact(row, said, info))
    movements = _movements(conn, feeds, variant_of, facts, tuple(moving), at)
    reserved, through = _reservations(conn, variants, at), _orders_through(conn, variants)
    return {
        variant: Known(
            variant, tuple(sorted({code for _, code in pairs})),
            tuple(sorted(facts[variant], key=lambda one: (one.location, one.feed, one.kind, one.code))),
            tuple(movements.get(variant, ())), tuple(reserved.get(variant, ())), through.get(variant, {}),
        )
        for variant, pairs in codes.items()
    }


def source_of(row: Mapping[str, Any]) -> Source:
    """The source of a row of fact, fact_history or ledger, with the row's own as-of."""
    as_of = _interval(row.get("as_of_from"), row.get("as_of_to"))
    return Source(
        agent=row["agent_id"], location=row["location_id"], feed=row["feed"], file=row["file"], sha256=row["sha256"],
        line=row["line"], text=row["text"], as_of=as_of, as_of_kind=row.get("as_of_kind"),
        captured_at=row["captured_at"], applied_at=row["applied_at"],
    )


def _feeds(conn: sa.Connection, at: dt.datetime | None) -> dict[tuple[str, str], FeedInfo]:
    found = {}
    for row in conn.execute(sa.select(feed)):
        as_of = _interval(row.as_of_from, row.as_of_to)
        if as_of is not None and at is not None and as_of[1] > at:
            as_of = None
        found[row.location_id, row.name] = FeedInfo(
            row.numbering, row.absence, as_of, row.as_of_kind if as_of else None
        )
    return found


def _rows_with_last(
    conn: sa.Connection, feeds: Mapping[tuple[str, str], FeedInfo], variant_of: Mapping[tuple[str, str], str],
    at: dt.datetime | None,
) -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """The rows that hold, each with the last version that said something when the row itself is gone."""
    rows: list[Mapping[str, Any]] = []
    for numbering in sorted({numbering for numbering, _ in variant_of}):
        places = [place for place, info in feeds.items() if info.numbering == numbering]
        for some in chunks(sorted(code for of, code in variant_of if of == numbering)):
            rows += _current(conn, numbering, some) if at is None else _versions(conn, places, some, at, gone=None)
    gone = [row for row in rows if row["gone"]]
    gone_places = sorted({(row["location_id"], row["feed"]) for row in gone})
    last: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for some in chunks(sorted({row["code"] for row in gone})):
        last.update({_key(row): row for row in _versions(conn, gone_places, some, at, gone=False)})
    return [(row, last.get(_key(row)) if row["gone"] else None) for row in rows]


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["location_id"], row["feed"], row["kind"], row["code"]


def _current(conn: sa.Connection, numbering: str, codes: Sequence[str]) -> list[Mapping[str, Any]]:
    query = (
        sa.select(fact)
        .join(feed, (feed.c.location_id == fact.c.location_id) & (feed.c.name == fact.c.feed))
        .where(feed.c.numbering == numbering, fact.c.kind.in_(RULE_KINDS), fact.c.code.in_(codes))
    )
    return [dict(row) for row in conn.execute(query).mappings()]


def _versions(
    conn: sa.Connection, places: Sequence[tuple[str, str]], codes: Sequence[str], at: dt.datetime | None,
    *, gone: bool | None,
) -> list[Mapping[str, Any]]:
    """The newest version of each fact that had been applied at `at` (None: ever), only (not) gone ones if asked.

    `places` are (location, feed). They are named column by column, because so the index serves on every database.
    """
    h = fact_history.c
    newest = sa.select(sa.func.max(h.n)).where(
        h.location_id.in_(sorted({place for place, _ in places})), h.feed.in_(sorted({name for _, name in places})),
        h.kind.in_(RULE_KINDS), h.code.in_(codes),
    ).group_by(h.location_id, h.feed, h.kind, h.code)
    if at is not None:
        newest = newest.where(h.applied_at <= at)
    if gone is not None:
        newest = newest.where(h.gone == gone)
    rows = conn.execute(sa.select(fact_history).where(h.n.in_(newest))).mappings()
    return [dict(row) for row in rows if (row["location_id"], row["feed"]) in places]


def _fact(row: Mapping[str, Any], last: Mapping[str, Any] | None, info: FeedInfo) -> Fact:
    kind, code = row["kind"], row["code"]
    said = None if row["gone"] else _record(kind, code, row["value"])
    before = _record(kind, code, last["value"]) if last is not None else None
    record, absent = meant(
        kind=kind, gone=row["gone"], absence=info.absence, now_said=said, last_said=before, code=code,
    )
    # A record kept from an earlier version is explained by that version's row, not by the row that is missing.
    told_by = last if last is not None and record is before and before is not None else row
    source = source_of(told_by)
    if told_by is row and info.as_of is not None and (source.as_of is None or source.as_of[1] < info.as_of[1]):
        source = Source(**{**_fields(source), "as_of": info.as_of, "as_of_kind": info.as_of_kind})
    return Fact(row["location_id"], row["feed"], kind, code, record, source, absent)


def _record(kind: str, code: str, value: str) -> Record:
    return msgspec.convert({**msgspec.json.decode(value), "code": code}, KINDS[kind])


def _fields(source: Source) -> dict[str, Any]:
    return {name: getattr(source, name) for name in Source.__slots__}


def _movements(
    conn: sa.Connection, feeds: Mapping[tuple[str, str], FeedInfo], variant_of: Mapping[tuple[str, str], str],
    facts: Mapping[str, Sequence[Fact]], moving: tuple[str, ...], at: dt.datetime | None,
) -> dict[str, list[Movement]]:
    """Sale lines of moving journals, and scans, since the oldest count of these variants began."""
    begins = [one.source.as_of[0] for some in facts.values() for one in some
              if one.kind == "stock_level" and one.source.as_of is not None]
    found: dict[str, list[Movement]] = defaultdict(list)
    journals = [(place, name) for place, name in sorted(feeds) if name in moving or f"{place}/{name}" in moving]
    if not begins or not journals:
        return found
    for place, name in journals:
        numbering = feeds[place, name].numbering
        wanted = sorted(code for of, code in variant_of if of == numbering)
        for some in chunks(wanted):
            query = sa.select(ledger).where(
                ledger.c.location_id == place, ledger.c.feed == name, ledger.c.kind.in_(MOVING_KINDS),
                ledger.c.code.in_(some), ledger.c.at >= min(begins),
            )
            if at is not None:
                query = query.where(ledger.c.applied_at <= at)
            for row in conn.execute(query.order_by(ledger.c.at, ledger.c.kind, ledger.c.id)).mappings():
                scanned = row["kind"] == "scan"
                pieces = Decimal(1) if scanned else row["quantity"]
                line = Movement(place, row["id"], pieces, row["at"], source_of({**row}), scanned)
                found[variant_of[numbering, row["code"]]].append(line)
    return found


def _reservations(
    conn: sa.Connection, variants: Sequence[str], at: dt.datetime | None,
) -> dict[str, list[Reservation]]:
    found: dict[str, list[Reservation]] = defaultdict(list)
    for some in chunks(variants):
        query = sa.select(reservation).where(reservation.c.variant_id.in_(some)).order_by(
            reservation.c.location_id, reservation.c.order_id, reservation.c.line
        )
        if at is None:
            query = query.where(reservation.c.state == "open")
        else:
            still = reservation.c.released_at.is_(None) | (reservation.c.released_at > at)
            query = query.where(reservation.c.created_at <= at, still)
        for row in conn.execute(query):
            left = row.quantity - row.counted if at is None else row.quantity
            found[row.variant_id].append(Reservation(row.location_id, row.order_id, row.line, left))
    return found


def _orders_through(conn: sa.Connection, variants: Sequence[str]) -> dict[str, dict[str, int]]:
    """By variant and storefront, the position of the latest order taken in."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    latest = sa.func.max(web_order.c.position).label("latest")
    for some in chunks(variants):
        query = (
            sa.select(order_line.c.variant_id, web_order.c.storefront, latest)
            .join(web_order, web_order.c.id == order_line.c.order_id)
            .where(order_line.c.variant_id.in_(some)).group_by(order_line.c.variant_id, web_order.c.storefront)
        )
        for row in conn.execute(query):
            found[row.variant_id][row.storefront] = row.latest
    return found


def _interval(begin: dt.datetime | None, end: dt.datetime | None) -> _Interval | None:
    return None if begin is None or end is None else (begin, end)
