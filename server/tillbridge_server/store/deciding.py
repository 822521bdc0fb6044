"""Deciding: dirty variants become offers, held back or put into the publish queue, in one transaction."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tillbridge_server.core.breakers import (
    PRICE_DROP,
    TO_ZERO,
    Judgement,
    Shift,
    judge,
    kept_parts,
    shifts_of,
)
from tillbridge_server.core.facts import Known
from tillbridge_server.core.offers import (
    HIDE,
    RULES_VERSION,
    Offer,
    candidate_fingerprint,
    encode,
    fingerprint,
    make_offer,
    state_with,
    stored,
    wanted,
)
from tillbridge_server.core.ownership import OWNER_MISSING
from tillbridge_server.core.settings import Rules, StorefrontConfig
from tillbridge_server.core.visibility import HELD, HIDDEN
from tillbridge_server.store import breaker_holds
from tillbridge_server.store.database import level_triggered
from tillbridge_server.store.fact_writes import chunks, touch, upsert
from tillbridge_server.store.facts_reading import read_known, read_phases
from tillbridge_server.store.offers import (
    Baseline,
    count_shown,
    read_activated,
    read_baselines,
    read_offer_texts,
    write_offers,
)
from tillbridge_server.store.publishing import queue_values
from tillbridge_server.store.tables import dirty, offer, rules_seen, variant

DECIDE_TOUCHES_MAX = 5_000


@dataclass(frozen=True)
class Decided:
    """What one decision did: how many variants, what it queued as (storefront, variant), how many offers are held."""

    variants: int
    queued: tuple[tuple[str, str], ...]
    held: int
    more: bool


@level_triggered
def decide(conn: sa.Connection, rules: Rules, now: dt.datetime, limit: int = DECIDE_TOUCHES_MAX) -> Decided:
    """Decide what up to `limit` touches made dirty, for every storefront; the same rows always give the same outcome.

    A variant touched while this runs stays dirty, because only the touches seen here are taken away.
    `more` says that touches are left.
    """
    query = sa.select(dirty.c.variant_id, dirty.c.n).order_by(dirty.c.n).limit(limit + 1)
    rows = conn.execute(query.with_for_update(skip_locked=True)).all()
    taken = rows[:limit]
    if not taken:
        return Decided(0, (), 0, more=False)
    variants = sorted({row.variant_id for row in taken})
    moving = sorted({name for storefront in rules.storefronts for name in storefront.moving_journals})
    known, phases = read_known(conn, variants, moving=moving), read_phases(conn)
    queued: list[tuple[str, str]] = []
    held = 0
    for storefront in rules.storefronts:
        values, kept = _decide_storefront(conn, rules, storefront, known, phases, now)
        queued += [(storefront.id, one) for one in values]
        held += kept
    for some in chunks([row.n for row in taken]):
        conn.execute(dirty.delete().where(dirty.c.n.in_(some)))
    return Decided(len(variants), tuple(queued), held, more=len(rows) > limit)


def touch_sales(conn: sa.Connection, now: dt.datetime) -> int:
    """A new day began somewhere: every variant with a running or coming sale is decided again. Returns how many."""
    query = sa.select(offer.c.variant_id).where(offer.c.value.like('%"sale":{%')).distinct()
    variants = sorted(conn.execute(query).scalars())
    touch(conn, variants, now)
    return len(variants)


def touch_all(conn: sa.Connection, now: dt.datetime) -> int:
    """Every variant is decided again; returns how many."""
    variants = conn.execute(sa.select(variant.c.id).order_by(variant.c.id)).scalars().all()
    touch(conn, variants, now)
    return len(variants)


def notice_rules(conn: sa.Connection, rules: Rules, now: dt.datetime) -> int:
    """At start: rules that differ from those of the last decisions make everything dirty. Returns how many."""
    current = {
        storefront.id: fingerprint(repr((RULES_VERSION, storefront, rules.breakers, sorted(rules.owners.items()))))
        for storefront in rules.storefronts
    }
    seen = {row.storefront: row.fingerprint for row in conn.execute(sa.select(rules_seen))}
    changed = {one: mark for one, mark in current.items() if seen.get(one) != mark}
    upsert(conn, rules_seen, [
        {"storefront": one, "fingerprint": mark, "seen_at": now} for one, mark in sorted(changed.items())
    ], ("storefront",))
    return touch_all(conn, now) if changed else 0


def _decide_storefront(
    conn: sa.Connection, rules: Rules, storefront: StorefrontConfig, known: Mapping[str, Known],
    phases: Mapping[str, str], now: dt.datetime,
) -> tuple[dict[str, str], int]:
    """The values to publish by variant, and how many offers are held."""
    variants = sorted(known)
    activated = set(variants) if storefront.activate == "auto" else read_activated(conn, storefront.id, variants)
    offers = {
        one: make_offer(
            known[one], storefront=storefront, phases=phases, owners=rules.owners, activated=one in activated, now=now,
        )
        for one in variants
    }
    baselines = read_baselines(conn, storefront.id, variants)
    judgement = _judge(conn, rules, storefront, offers, baselines, now)
    values: dict[str, str] = {}
    rows = []
    held_back = _by_variant(judgement)
    for one, made in offers.items():
        shifts = held_back.get(one, [])
        kept = kept_parts(shifts) | _conflict_parts(made)
        state = state_with(made, kept, _reasons(made, shifts, judgement))
        before = baselines.get(one)
        text = encode(wanted(made, before.shown if before else None, kept))
        if text != (before.text if before else HIDE):
            values[one] = text
        rows.append({
            "storefront": storefront.id, "variant_id": one, "state": state.state,
            "value": encode(stored(made, state)), "fingerprint": candidate_fingerprint(made), "decided_at": now,
        })
    old = read_offer_texts(conn, storefront.id, variants)
    write_offers(conn, [
        row for row in rows if old.get(str(row["variant_id"])) != (row["state"], row["value"], row["fingerprint"])
    ])
    queue_values(conn, storefront.id, values, baselines, now)
    return values, sum(row["state"] == HELD for row in rows)


def _judge(
    conn: sa.Connection, rules: Rules, storefront: StorefrontConfig, offers: Mapping[str, Offer],
    baselines: Mapping[str, Baseline], now: dt.datetime,
) -> Judgement:
    """Let the breakers judge this storefront's shifts, and write what they say."""
    shifts = [
        shift for one, made in offers.items()
        for shift in shifts_of(made, baselines[one].shown if one in baselines else None, rules.breakers)
    ]
    items = breaker_holds.read_items(conn, storefront.id, sorted(offers))
    judgement = judge(
        shifts, items=items, tallies=breaker_holds.read_tallies(conn, storefront.id, shifts),
        shown_now=_shown_now(conn, storefront.id, shifts), limits=rules.breakers,
    )
    breaker_holds.write_judgement(conn, storefront, judgement, items, rules.breakers, now)
    return judgement


def _shown_now(conn: sa.Connection, storefront: str, shifts: Sequence[Shift]) -> dict[str, int]:
    """What a limit is a share of; counted only for the breakers that have something to judge."""
    breakers = {shift.breaker for shift in shifts}
    return {
        breaker: count_shown(conn, storefront, with_stock=breaker == TO_ZERO)
        for breaker in (TO_ZERO, PRICE_DROP) if breaker in breakers
    }


def _by_variant(judgement: Judgement) -> dict[str, list[Shift]]:
    found: dict[str, list[Shift]] = {}
    for shift in (*judgement.held, *judgement.rejected):
        found.setdefault(shift.variant, []).append(shift)
    return found


def _conflict_parts(made: Offer) -> frozenset[str]:
    return frozenset() if made.visibility.state == HIDDEN else frozenset(part for part, _ in made.conflicts)


def _reasons(made: Offer, shifts: Sequence[Shift], judgement: Judgement) -> list[str]:
    """Why an offer is held, in a fixed order: what it waits for, then whether a person has said no."""
    reasons = sorted({shift.breaker for shift in shifts})
    if made.conflicts and OWNER_MISSING not in reasons:
        reasons.append(OWNER_MISSING)
    if any(shift in judgement.rejected for shift in shifts):
        reasons.append("rejected")
    return reasons
