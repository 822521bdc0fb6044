"""Activating variants: a person lets them be shown in a storefront."""

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from tillbridge_server.store.fact_writes import chunks, touch
from tillbridge_server.store.tables import activation, audit, variant


def activate(
    conn: sa.Connection, storefront: str, variants: Sequence[str], *, by: str, why: str, now: dt.datetime,
) -> int:
    """Let these variants be shown; returns how many were not yet. The act stands in the audit log."""
    query = sa.select(activation.c.variant_id).where(activation.c.storefront == storefront)
    active = set(conn.execute(query).scalars())
    new = sorted(set(variants) - active)
    if not new:
        return 0
    conn.execute(activation.insert(), [
        {"storefront": storefront, "variant_id": one, "activated_at": now, "activated_by": by} for one in new
    ])
    touch(conn, new, now)
    what = f"{storefront}: {new[0]}" if len(new) == 1 else f"{storefront}: {len(new)} variants"
    conn.execute(audit.insert().values(at=now, by=by, act="activate", what=what, why=why))
    return len(new)


def activate_all(conn: sa.Connection, storefront: str, *, by: str, why: str, now: dt.datetime) -> int:
    """Let every variant known now be shown in this storefront; returns how many were not yet."""
    everything = conn.execute(sa.select(variant.c.id).order_by(variant.c.id)).scalars().all()
    return activate(conn, storefront, everything, by=by, why=why, now=now)


def known_variants(conn: sa.Connection, variants: Sequence[str]) -> set[str]:
    """Which of these ids are variants."""
    found: set[str] = set()
    for some in chunks(variants):
        found.update(conn.execute(sa.select(variant.c.id).where(variant.c.id.in_(some))).scalars())
    return found
