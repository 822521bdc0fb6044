"""Holds as people see and decide them."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from tillbridge_server.core.breakers import APPROVED, REJECTED
from tillbridge_server.core.ownership import OWNER_MISSING
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store.breaker_holds import close_tallies
from tillbridge_server.store.fact_writes import touch
from tillbridge_server.store.tables import audit, hold, hold_item

Verdict = Literal["approve", "reject"]
#: Held files that no yes can make readable: the agent would refuse them. Feed or till have to be put right.
NEVER_BELIEVED = frozenset({"column_missing", "wrong_location"})


@dataclass(frozen=True)
class HoldRow:
    """One hold; `place` is a storefront or "<location>/<feed>", `agent_id` is set when it lives at an agent."""

    id: str
    what: str
    place: str
    since: dt.datetime
    code: str
    message: str
    hint: str
    affected: int
    sample: tuple[dict[str, str | None], ...]
    state: str
    agent_id: str | None
    decided_at: dt.datetime | None
    decided_by: str | None
    decided_why: str | None


@dataclass(frozen=True)
class ItemRow:
    """One held offer: which, and what was decided about it (None: nothing yet)."""

    storefront: str
    variant: str
    fingerprint: str
    verdict: str | None


def read_holds(conn: sa.Connection, *, state: str | None = "open") -> list[HoldRow]:
    """Holds sorted by id; those that wait for a person unless another state (None: all) is asked."""
    query = sa.select(hold).order_by(hold.c.id)
    if state is not None:
        query = query.where(hold.c.state == state)
    return [_row(row) for row in conn.execute(query)]


def read_hold(conn: sa.Connection, hold_id: str) -> HoldRow:
    """One hold. Raises NotKnown."""
    row = conn.execute(sa.select(hold).where(hold.c.id == hold_id)).first()
    if row is None:
        raise NotKnown(f"There is no hold {hold_id}.", "`tillbridge-server holds --json` lists those that wait.")
    return _row(row)


def read_items(conn: sa.Connection, hold_id: str) -> list[ItemRow]:
    """The offers of a hold that still matter, sorted by storefront and variant."""
    query = sa.select(
        hold_item.c.storefront, hold_item.c.variant_id, hold_item.c.fingerprint, hold_item.c.verdict
    ).where(hold_item.c.hold_id == hold_id).order_by(hold_item.c.storefront, hold_item.c.variant_id)
    return [ItemRow(*row) for row in conn.execute(query)]


def read_holds_of(conn: sa.Connection, storefront: str, variant: str) -> list[tuple[HoldRow, ItemRow]]:
    """The holds in which this offer's matter is still open or suppressed, sorted by id."""
    query = (
        sa.select(hold, hold_item.c.fingerprint, hold_item.c.verdict)
        .join(hold_item, hold_item.c.hold_id == hold.c.id)
        .where(hold_item.c.storefront == storefront, hold_item.c.variant_id == variant).order_by(hold.c.id)
    )
    return [(_row(row), ItemRow(storefront, variant, row.fingerprint, row.verdict)) for row in conn.execute(query)]


def close_hold(
    conn: sa.Connection, hold_id: str, verdict: Verdict, *, by: str, why: str, now: dt.datetime,
) -> HoldRow:
    """Decide a hold: its values pass once, or stay suppressed until the facts say something else.

    Every variant it names is decided again; the act and its reason stand in the audit log. Raises NotKnown,
    or NotPossible when it is decided already, has no reason, or a yes cannot help: it needs an owner or another file.
    """
    found = read_hold(conn, hold_id)
    if not why.strip():
        raise NotPossible("A decision needs a reason.", "Say why in one sentence; it stays in the audit log.")
    if found.state != "open":
        raise NotPossible(f"Hold {hold_id} does not wait any more: it is {found.state}.", "Nothing is left to decide.")
    if found.code == OWNER_MISSING:
        raise NotPossible("Only naming an owner settles which feed is right.", found.hint)
    if verdict == "approve" and found.code in NEVER_BELIEVED:
        raise NotPossible("A file of this kind cannot be believed, whoever says so.", found.hint)
    decision = APPROVED if verdict == "approve" else REJECTED
    conn.execute(hold.update().where(hold.c.id == hold_id).values(
        state=decision, decided_at=now, decided_by=by, decided_why=why
    ))
    conn.execute(hold_item.update().where(hold_item.c.hold_id == hold_id).values(verdict=decision))
    close_tallies(conn, hold_id)
    touch(conn, _variants_of(conn, hold_id), now)
    what = f"{hold_id} ({found.place})"
    conn.execute(audit.insert().values(at=now, by=by, act=f"{verdict}_hold", what=what, why=why))
    return read_hold(conn, hold_id)


def _variants_of(conn: sa.Connection, hold_id: str) -> Sequence[str]:
    query = sa.select(hold_item.c.variant_id).where(hold_item.c.hold_id == hold_id).distinct()
    return conn.execute(query.order_by(hold_item.c.variant_id)).scalars().all()


def _row(row: Any) -> HoldRow:
    values = {name: getattr(row, name) for name in HoldRow.__dataclass_fields__ if name != "sample"}
    return HoldRow(**values, sample=tuple(json.loads(row.sample)))
