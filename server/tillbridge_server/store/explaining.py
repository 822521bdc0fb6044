"""Explaining one offer: decided again from the facts of an instant, beside what is shown and what is held."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tillbridge_server.core.breakers import REJECTED
from tillbridge_server.core.offers import Offer, make_offer, state_with
from tillbridge_server.core.ownership import OWNER_MISSING
from tillbridge_server.core.settings import Rules, StorefrontConfig
from tillbridge_server.core.visibility import HIDDEN, Visibility
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store.activation import known_variants
from tillbridge_server.store.fact_writes import chunks
from tillbridge_server.store.facts_reading import read_known, read_phases
from tillbridge_server.store.holds import HoldRow, ItemRow, read_holds_of
from tillbridge_server.store.offers import PublishedRow, read_activated, read_published
from tillbridge_server.store.tables import numbering_code


@dataclass(frozen=True)
class Explanation:
    """An offer with its terms, its state once holds are counted, the holds, and what the storefront shows."""

    offer: Offer
    state: Visibility
    holds: tuple[tuple[HoldRow, ItemRow], ...]
    published: PublishedRow | None
    at: dt.datetime


def explain_offer(
    conn: sa.Connection, rules: Rules, storefront: StorefrontConfig, variant: str, *, now: dt.datetime,
    at: dt.datetime | None = None,
) -> Explanation:
    """Decide the offer again from what was known `at` (None: now), by today's rules, phases and links.

    What was held at an earlier instant is not kept, so `holds` is empty there.
    """
    known = read_known(conn, [variant], moving=storefront.moving_journals, at=at)[variant]
    activated = storefront.activate == "auto" or variant in read_activated(conn, storefront.id, [variant], at=at)
    offer = make_offer(
        known, storefront=storefront, phases=read_phases(conn), owners=rules.owners, activated=activated, now=at or now,
    )
    published = read_published(conn, storefront.id, [variant]).get(variant)
    if published is not None and at is not None and published.at > at:
        published = None
    holds = tuple(read_holds_of(conn, storefront.id, variant)) if at is None else ()
    return Explanation(offer, _state(offer, holds), holds, published, at or now)


def find_variants(conn: sa.Connection, names: Sequence[str]) -> list[str]:
    """The variants of these names, each a variant's id or one of its codes, in their order.

    Raises NotKnown for a name nobody uses, NotPossible for a code that several variants have.
    """
    ids = known_variants(conn, names)
    by_code: dict[str, set[str]] = {}
    for some in chunks([name for name in names if name not in ids]):
        query = sa.select(numbering_code.c.code, numbering_code.c.variant_id).where(numbering_code.c.code.in_(some))
        for row in conn.execute(query):
            by_code.setdefault(row.code, set()).add(row.variant_id)
    return [name if name in ids else _one(name, by_code.get(name, set())) for name in names]


def _one(name: str, variants: set[str]) -> str:
    if not variants:
        raise NotKnown(f"No variant has the id or code {name!r}.", "`tillbridge-server offers` lists all of them.")
    if len(variants) > 1:
        told = ", ".join(sorted(variants))
        raise NotPossible(f"The code {name!r} belongs to several variants: {told}.", "Name one of them by its id.")
    return next(iter(variants))


def _state(offer: Offer, holds: Sequence[tuple[HoldRow, ItemRow]]) -> Visibility:
    waiting = [(hold, item) for hold, item in holds if item.verdict in {None, REJECTED}]
    reasons = sorted({hold.code for hold, _ in waiting})
    if offer.conflicts and offer.visibility.state != HIDDEN and OWNER_MISSING not in reasons:
        reasons.append(OWNER_MISSING)
    if any(item.verdict == REJECTED for _, item in waiting):
        reasons.append("rejected")
    return state_with(offer, reasons, reasons)
