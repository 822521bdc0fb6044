"""Variants for the screens: lists, search, one variant with its stock by location and where it is shown."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_server.dashboard.say import decimal_of
from tillbridge_server.store.tables import (
    activation,
    dirty,
    fact,
    feed,
    location,
    numbering_code,
    offer,
    publication,
    publish_task,
    reservation,
    variant,
)

PAGE = 20


def json_object(text: str | bytes | None) -> dict[str, Any]:
    """A stored JSON object; {} for nothing."""
    return {} if not text else msgspec.json.decode(text, type=dict[str, Any])


@dataclass(frozen=True)
class SkuRow:
    """One line of the list of SKUs for one storefront."""

    variant: str
    code: str
    title: str
    state: str  # live | hidden | held | waiting (not decided yet)
    available: Decimal | None
    price: Decimal | None
    currency: str
    activated: bool


@dataclass(frozen=True)
class SkuPage:
    """One page of SKUs and how many there are in each state."""

    rows: list[SkuRow]
    counts: dict[str, int]
    total: int
    page: int

    @property
    def pages(self) -> int:
        """At least one."""
        return max(1, -(-self.total // PAGE))


def sku_page(conn: sa.Connection, storefront: str, state: str, q: str, page: int) -> SkuPage:
    """Twenty SKUs of a storefront in one state ("" = all), found by code, barcode or title; `page` from 1."""
    base = (
        sa.select(variant.c.id, offer.c.state, offer.c.value, activation.c.activated_at)
        .select_from(variant)
        .outerjoin(offer, sa.and_(offer.c.variant_id == variant.c.id, offer.c.storefront == storefront))
        .outerjoin(
            activation, sa.and_(activation.c.variant_id == variant.c.id, activation.c.storefront == storefront)
        )
    )
    if q:
        base = base.where(variant.c.id.in_(_matching(q)))
    counts = _counts(conn, base)
    if state == "waiting":
        base = base.where(offer.c.state.is_(None))
    elif state:
        base = base.where(offer.c.state == state)
    total = counts.get(state, 0) if state else sum(counts.values())
    page = max(1, min(page, max(1, -(-total // PAGE))))
    chosen = base.order_by(variant.c.id).limit(PAGE).offset((page - 1) * PAGE)
    rows = [_sku_row(conn, row) for row in conn.execute(chosen).all()]
    return SkuPage(rows, counts, total, page)


def _counts(conn: sa.Connection, base: sa.Select[Any]) -> dict[str, int]:
    inner = base.subquery()
    query = sa.select(inner.c.state, sa.func.count()).group_by(inner.c.state)
    return {state or "waiting": n for state, n in conn.execute(query)}


def _sku_row(conn: sa.Connection, row: Any) -> SkuRow:
    value = json_object(row.value)
    codes = value.get("codes") or [row.id.partition(":")[2]]
    return SkuRow(
        variant=row.id, code=codes[0], title=value.get("title") or title_of(conn, row.id) or "",
        state=row.state or "waiting", available=decimal_of(value.get("available")),
        price=decimal_of(value.get("price_now")), currency=value.get("currency") or "",
        activated=row.activated_at is not None,
    )


def _matching(q: str) -> sa.Select[Any]:
    """Variant ids by code (from its beginning), by barcode, or by a part of the title."""
    text = q.strip()
    by_code = sa.select(numbering_code.c.variant_id).where(numbering_code.c.code.istartswith(text, autoescape=True))
    quoted = msgspec.json.encode(text).decode()[1:-1]
    by_words = (
        sa.select(numbering_code.c.variant_id)
        .select_from(fact)
        .join(feed, sa.and_(feed.c.location_id == fact.c.location_id, feed.c.name == fact.c.feed))
        .join(numbering_code, sa.and_(
            numbering_code.c.numbering == feed.c.numbering, numbering_code.c.code == fact.c.code
        ))
        .where(fact.c.kind == "product", fact.c.value.icontains(quoted, autoescape=True))
    )
    return sa.select(sa.union(by_code, by_words).subquery().c.variant_id)


def exact_hit(conn: sa.Connection, q: str) -> str | None:
    """The one variant whose id, code or barcode is exactly this text; None when there is none or several."""
    text = q.strip()
    found = set(conn.scalars(sa.select(variant.c.id).where(variant.c.id == text)))
    found |= set(conn.scalars(sa.select(numbering_code.c.variant_id).where(numbering_code.c.code == text).limit(2)))
    if not found and text.isdigit() and len(text) in (8, 12, 13, 14):
        found |= set(conn.scalars(_matching(text).limit(2)))
    return found.pop() if len(found) == 1 else None


def locations_named(conn: sa.Connection, q: str) -> list[tuple[str, str]]:
    """Locations whose id is this text or whose name contains it: (id, name)."""
    query = sa.select(location.c.id, location.c.name).where(
        sa.or_(location.c.id == q.strip(), location.c.name.icontains(q.strip(), autoescape=True))
    )
    return [(row.id, row.name) for row in conn.execute(query.order_by(location.c.name, location.c.id).limit(PAGE))]


def location_names(conn: sa.Connection) -> dict[str, str]:
    """What each location is called."""
    return {row.id: row.name for row in conn.execute(sa.select(location.c.id, location.c.name))}


def facts_of(conn: sa.Connection, variant_id: str, kinds: tuple[str, ...]) -> list[Any]:
    """Every latest fact of these kinds about any code of the variant, gone ones too, by location and feed."""
    query = (
        sa.select(fact)
        .select_from(numbering_code)
        .join(feed, feed.c.numbering == numbering_code.c.numbering)
        .join(fact, sa.and_(
            fact.c.location_id == feed.c.location_id, fact.c.feed == feed.c.name,
            fact.c.kind.in_(kinds), fact.c.code == numbering_code.c.code,
        ))
        .where(numbering_code.c.variant_id == variant_id)
        .order_by(fact.c.location_id, fact.c.feed, fact.c.kind, fact.c.code)
    )
    return list(conn.execute(query).all())


def title_of(conn: sa.Connection, variant_id: str) -> str | None:
    """What a system calls it, for a variant no offer has been decided for yet."""
    for row in facts_of(conn, variant_id, ("product",)):
        title = json_object(row.value).get("title")
        if title:
            return str(title)
    return None


@dataclass(frozen=True)
class Shown:
    """One storefront's side of a variant: what should be shown, what is, what waits."""

    storefront: str
    state: str
    offer: dict[str, Any]
    decided_at: datetime | None
    published: dict[str, Any] | None
    published_at: datetime | None
    queued_at: datetime | None
    error: str | None
    activated_at: datetime | None
    activated_by: str


def shown(conn: sa.Connection, variant_id: str, storefront: str) -> Shown:
    """Offer, publication, queue entry and activation of a variant in one storefront."""

    def one(table: sa.Table) -> Any:
        return conn.execute(
            sa.select(table).where(table.c.storefront == storefront, table.c.variant_id == variant_id)
        ).first()

    decided, out, task, active = one(offer), one(publication), one(publish_task), one(activation)
    return Shown(
        storefront=storefront, state=decided.state if decided else "waiting",
        offer=json_object(decided.value) if decided else {}, decided_at=decided.decided_at if decided else None,
        published=json_object(out.value) if out else None, published_at=out.published_at if out else None,
        queued_at=task.queued_at if task else None, error=task.error if task else None,
        activated_at=active.activated_at if active else None, activated_by=active.activated_by if active else "",
    )


@dataclass(frozen=True)
class StockRow:
    """What one location says about a variant: `counted` None is unknown; `gone` = no longer listed there."""

    location: str
    name: str
    phase: str
    counted: Decimal | None
    gone: bool
    as_of: datetime | None
    reserved: Decimal
    feed: str


def stock_by_location(conn: sa.Connection, variant_id: str) -> list[StockRow]:
    """Every location that has a feed at all, those that never listed the variant too."""
    facts = {row.location_id: row for row in facts_of(conn, variant_id, ("stock_level",))}
    held: dict[str, Decimal] = {}
    open_ones = sa.select(reservation).where(reservation.c.variant_id == variant_id, reservation.c.state == "open")
    for row in conn.execute(open_ones):
        held[row.location_id] = held.get(row.location_id, Decimal(0)) + row.quantity - row.counted
    places = sa.select(location).where(sa.exists().where(feed.c.location_id == location.c.id))
    rows = []
    for place in conn.execute(places.order_by(location.c.name, location.c.id)):
        said = facts.get(place.id)
        known = said is not None and not said.gone
        rows.append(StockRow(
            location=place.id, name=place.name, phase=place.phase,
            counted=decimal_of(json_object(said.value).get("on_hand")) if said is not None and known else None,
            gone=said is not None and bool(said.gone), as_of=said.as_of_to if said is not None else None,
            reserved=held.get(place.id, Decimal(0)), feed=said.feed if said is not None else "",
        ))
    return sorted(rows, key=lambda row: (row.counted is None, -(row.counted or 0), row.name))


def promised_nowhere(conn: sa.Connection, variant_id: str) -> Decimal:
    """Pieces promised to orders that have no location yet."""
    query = sa.select(reservation).where(
        reservation.c.variant_id == variant_id, reservation.c.state == "open", reservation.c.location_id == ""
    )
    return sum((row.quantity - row.counted for row in conn.execute(query)), Decimal(0))


def variant_codes(conn: sa.Connection, variant_id: str) -> list[tuple[str, str]]:
    """(numbering, code) pairs of a variant; empty when there is no such variant."""
    query = sa.select(numbering_code.c.numbering, numbering_code.c.code)
    by_code = numbering_code.c.numbering, numbering_code.c.code
    found = conn.execute(query.where(numbering_code.c.variant_id == variant_id).order_by(*by_code))
    return [(row.numbering, row.code) for row in found]


def variant_exists(conn: sa.Connection, variant_id: str) -> bool:
    """True for a known variant."""
    return conn.execute(sa.select(variant.c.id).where(variant.c.id == variant_id)).first() is not None


def is_dirty(conn: sa.Connection, variant_id: str) -> bool:
    """True while newer facts wait to be decided about."""
    return conn.execute(sa.select(dirty.c.n).where(dirty.c.variant_id == variant_id)).first() is not None


def product_of(conn: sa.Connection, variant_id: str) -> dict[str, Any]:
    """Title, GTIN, brand, department as the systems say them; the first that knows a field wins."""
    merged: dict[str, Any] = {}
    for row in facts_of(conn, variant_id, ("product",)):
        for key, value in json_object(row.value).items():
            if value not in (None, ""):
                merged.setdefault(key, value)
    return merged
