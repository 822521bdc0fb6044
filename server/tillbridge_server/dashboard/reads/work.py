"""What waits and what happened: holds, dead letters, storefronts, last published, backups, the audit log."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tillbridge_server.dashboard.reads.skus import facts_of, json_object, title_of
from tillbridge_server.dashboard.say import count
from tillbridge_server.store.tables import (
    audit,
    backup,
    dead_letter,
    fact_history,
    hold,
    hold_item,
    location,
    offer,
    publication,
    publish_task,
)

ROWS = 20


@dataclass(frozen=True)
class HoldRow:
    """One hold as the queue and the overview tell it."""

    id: str
    what: str
    place: str
    since: datetime
    code: str
    message: str
    hint: str
    affected: int
    sample: list[dict[str, Any]]
    state: str
    agent_id: str | None
    decided_at: datetime | None
    decided_by: str | None
    decided_why: str | None
    where: str  # "Mallow, feed stock"; a storefront keeps its id

    @property
    def unit(self) -> str:
        """What `affected` counts: a breaker holds SKUs, an agent the changes that a file would make."""
        return "change" if self.what == "file" else "SKU"

    @property
    def title(self) -> str:
        """One sentence with the number in it."""
        place = self.where.partition(",")[0]
        if self.what != "file" and self.code == "to_zero":
            return f"{count(self.affected, 'SKU')} would go to zero in {place}"
        if self.what != "file" and self.code == "price_drop":
            return f"{count(self.affected, 'price')} would fall by a lot in {place}"
        if self.code == "owner_missing":
            return f"Feeds disagree about {count(self.affected, 'SKU')}"
        return re.split(r"(?<=[a-z0-9”)])\.\s", self.message, maxsplit=1)[0].rstrip(".")


def _hold_rows(conn: sa.Connection, query: sa.Select[Any]) -> list[HoldRow]:
    rows = conn.execute(query).all()
    ids = {row.place.partition("/")[0] for row in rows}
    named = sa.select(location.c.id, location.c.name).where(location.c.id.in_(ids))
    names = {row.id: row.name for row in conn.execute(named)} if ids else {}
    found = []
    for row in rows:
        place, _, fed = row.place.partition("/")
        name = names.get(place, place)
        found.append(HoldRow(
            row.id, row.what, row.place, row.since, row.code, row.message, row.hint, row.affected,
            msgspec.json.decode(row.sample, type=list[dict[str, Any]]), row.state, row.agent_id, row.decided_at,
            row.decided_by, row.decided_why, f"{name}, feed {fed}" if fed else name,
        ))
    return found


def open_holds(conn: sa.Connection) -> list[HoldRow]:
    """Everything that waits for a decision, most affected first, then the oldest."""
    query = sa.select(hold).where(hold.c.state == "open").order_by(hold.c.affected.desc(), hold.c.since, hold.c.id)
    return _hold_rows(conn, query)


def count_open_holds(conn: sa.Connection) -> int:
    """For the navigation."""
    return conn.scalar(sa.select(sa.func.count()).select_from(hold).where(hold.c.state == "open")) or 0


def one_hold(conn: sa.Connection, hold_id: str) -> HoldRow | None:
    """A hold in any state."""
    return next(iter(_hold_rows(conn, sa.select(hold).where(hold.c.id == hold_id))), None)


def decided_holds(conn: sa.Connection, limit: int = ROWS) -> list[HoldRow]:
    """The last decided ones, newest first."""
    newest_first = hold.c.decided_at.desc(), hold.c.id
    query = sa.select(hold).where(hold.c.decided_by.is_not(None)).order_by(*newest_first).limit(limit)
    return _hold_rows(conn, query)


@dataclass(frozen=True)
class DiffRow:
    """What one held offer shows now and what it would show."""

    storefront: str
    variant: str
    code: str
    title: str
    verdict: str | None
    now: dict[str, Any]
    then: dict[str, Any]


def held_offers(conn: sa.Connection, hold_id: str, limit: int | None) -> tuple[list[DiffRow], int]:
    """The offers a breaker holds beside what is published, and how many there are."""
    total = conn.scalar(sa.select(sa.func.count()).select_from(hold_item).where(hold_item.c.hold_id == hold_id)) or 0
    query = (
        sa.select(hold_item, offer.c.value.label("then"), publication.c.value.label("now"))
        .outerjoin(offer, sa.and_(
            offer.c.storefront == hold_item.c.storefront, offer.c.variant_id == hold_item.c.variant_id
        ))
        .outerjoin(publication, sa.and_(
            publication.c.storefront == hold_item.c.storefront, publication.c.variant_id == hold_item.c.variant_id
        ))
        .where(hold_item.c.hold_id == hold_id)
        .order_by(hold_item.c.storefront, hold_item.c.variant_id)
        .limit(limit)
    )
    rows = []
    for row in conn.execute(query).all():
        then, shown = json_object(row.then), json_object(row.now)
        codes = then.get("codes") or [row.variant_id.partition(":")[2]]
        title = then.get("title") or title_of(conn, row.variant_id) or ""
        rows.append(DiffRow(row.storefront, row.variant_id, codes[0], title, row.verdict, shown, then))
    return rows, total


@dataclass(frozen=True)
class StorefrontState:
    """One storefront in numbers."""

    id: str
    live: int
    hidden: int
    held: int
    queue: int
    failing: int
    error: str | None
    refused: int
    last_at: datetime | None

    @property
    def equal(self) -> int:
        """Live offers that the storefront shows as decided."""
        return max(0, self.live - self.queue)


def storefront_state(conn: sa.Connection, storefront: str) -> StorefrontState:
    """Offers by state, the publish queue, what the storefront finally refused, the last change."""
    by_state = sa.select(offer.c.state, sa.func.count()).where(offer.c.storefront == storefront)
    states = {row[0]: int(row[1]) for row in conn.execute(by_state.group_by(offer.c.state))}
    tasks = sa.select(
        sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((publish_task.c.tries > 0, 1), else_=0)), 0),
        sa.func.max(publish_task.c.error),
    ).where(publish_task.c.storefront == storefront)
    queue, failing, error = conn.execute(tasks).one()
    refused = conn.scalar(
        sa.select(sa.func.count()).select_from(dead_letter)
        .where(dead_letter.c.origin == "storefront", dead_letter.c.place == storefront)
    )
    last = conn.scalar(sa.select(sa.func.max(publication.c.published_at)).where(publication.c.storefront == storefront))
    return StorefrontState(
        storefront, states.get("live", 0), states.get("hidden", 0), states.get("held", 0),
        queue, int(failing), error, refused or 0, last,
    )


@dataclass(frozen=True)
class Published:
    """One line of "last published": what shoppers see now, because of which fact."""

    at: datetime
    storefront: str
    variant: str
    title: str
    value: dict[str, Any]
    cause: Any | None
    before: dict[str, Any]
    place: str


def last_published(conn: sa.Connection, limit: int = 8) -> list[Published]:
    """The newest publications with the newest fact that was there when each was made."""
    names = {row.id: row.name for row in conn.execute(sa.select(location.c.id, location.c.name))}
    p = publication.c
    query = sa.select(publication).order_by(p.published_at.desc(), p.storefront, p.variant_id)
    newest = conn.execute(query.limit(limit)).all()
    found = []
    for row in newest:
        value = json_object(row.value)
        facts = facts_of(conn, row.variant_id, ("stock_level", "price"))
        earlier = [f for f in facts if f.applied_at <= row.published_at]
        cause = max(earlier, key=lambda f: f.applied_at, default=None)
        found.append(Published(
            row.published_at, row.storefront, row.variant_id,
            value.get("title") or title_of(conn, row.variant_id) or row.variant_id, value, cause,
            _version_before(conn, cause), names.get(cause.location_id, cause.location_id) if cause else "",
        ))
    return found


def _version_before(conn: sa.Connection, row: Any) -> dict[str, Any]:
    """The value a fact had before its latest one."""
    if row is None:
        return {}
    h = fact_history.c
    query = (
        sa.select(h.value)
        .where(h.location_id == row.location_id, h.feed == row.feed, h.kind == row.kind, h.code == row.code)
        .order_by(h.n.desc()).limit(1).offset(1)
    )
    return json_object(conn.scalar(query))


def dead_letters(conn: sa.Connection, limit: int = ROWS) -> tuple[list[Any], int]:
    """The newest dead letters without their payload, and how many there are."""
    d = dead_letter.c
    query = sa.select(d.id, d.origin, d.place, d.since, d.code, d.message).order_by(d.since.desc(), d.id).limit(limit)
    total = conn.scalar(sa.select(sa.func.count()).select_from(dead_letter)) or 0
    return list(conn.execute(query).all()), total


def dead_letters_by_place(conn: sa.Connection) -> list[Any]:
    """(origin, place, code, n, since, message) per cause, the oldest moment of each."""
    d = dead_letter.c
    query = sa.select(
        d.origin, d.place, d.code, sa.func.count().label("n"), sa.func.min(d.since).label("since"),
        sa.func.max(d.message).label("message"),
    ).group_by(d.origin, d.place, d.code).order_by(sa.desc("n"), d.origin, d.place, d.code)
    return list(conn.execute(query).all())


def last_backup(conn: sa.Connection) -> datetime | None:
    """When the newest verified backup was made."""
    newest: datetime | None = conn.scalar(sa.select(sa.func.max(backup.c.at)))
    return newest


def audit_page(conn: sa.Connection, page: int) -> tuple[list[Any], int]:
    """Twenty deeds, newest first, and how many there are; `page` from 1."""
    total = conn.scalar(sa.select(sa.func.count()).select_from(audit)) or 0
    query = sa.select(audit).order_by(audit.c.n.desc()).limit(ROWS).offset((page - 1) * ROWS)
    return list(conn.execute(query).all()), total


def last_decision(conn: sa.Connection) -> HoldRow | None:
    """The last thing a person decided."""
    return next(iter(decided_holds(conn, 1)), None)
