"""Reading and writing offers, and what each storefront shows or is about to be told."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tillbridge_server.core.offers import OfferValue, Shown, decode_shown, decode_stored
from tillbridge_server.store.fact_writes import chunks, upsert
from tillbridge_server.store.tables import activation, offer, publication, publish_task

#: How zero and hidden stand in the canonical text of a value, so that shown offers are counted without decoding.
_ZERO, _HIDDEN = '%"available":"0"%', '{"hide":true}%'


@dataclass(frozen=True)
class OfferRow:
    """An offer as stored."""

    storefront: str
    variant: str
    state: str
    value: OfferValue
    fingerprint: str
    decided_at: dt.datetime


@dataclass(frozen=True)
class WaitingTask:
    """A row of the publish queue without its value."""

    version: int
    due_at: dt.datetime
    tries: int
    error: str | None


@dataclass(frozen=True)
class Baseline:
    """The value last let go towards a storefront (canonical text), and its task while it waits in the queue."""

    text: str
    task: WaitingTask | None = None

    @property
    def shown(self) -> Shown | None:
        """What shoppers see, or are about to; None when hidden."""
        return decode_shown(self.text)


@dataclass(frozen=True)
class PublishedRow:
    """What we know a storefront shows, and since when."""

    shown: Shown | None
    text: str
    at: dt.datetime


def read_offers(
    conn: sa.Connection, *, storefront: str | None = None, variants: Sequence[str] | None = None,
) -> list[OfferRow]:
    """Offers sorted by storefront and variant, of all storefronts and variants unless named."""
    query = sa.select(offer).order_by(offer.c.storefront, offer.c.variant_id)
    if storefront is not None:
        query = query.where(offer.c.storefront == storefront)
    if variants is None:
        return [_offer_row(row) for row in conn.execute(query)]
    rows = [_offer_row(row) for some in chunks(variants)
            for row in conn.execute(query.where(offer.c.variant_id.in_(some)))]
    return sorted(rows, key=lambda row: (row.storefront, row.variant))


def read_offer_texts(
    conn: sa.Connection, storefront: str, variants: Sequence[str],
) -> dict[str, tuple[str, str, str]]:
    """(state, value text, fingerprint) of stored offers, to write only what differs."""
    found = {}
    columns = (offer.c.variant_id, offer.c.state, offer.c.value, offer.c.fingerprint)
    for some in chunks(variants):
        query = sa.select(*columns).where(offer.c.storefront == storefront, offer.c.variant_id.in_(some))
        found.update({row.variant_id: (row.state, row.value, row.fingerprint) for row in conn.execute(query)})
    return found


def write_offers(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put these rows of `offer`."""
    upsert(conn, offer, [dict(row) for row in rows], ("storefront", "variant_id"))


def read_published(
    conn: sa.Connection, storefront: str, variants: Sequence[str] | None = None,
) -> dict[str, PublishedRow]:
    """What we know the storefront shows, by variant."""
    query = sa.select(publication).where(publication.c.storefront == storefront)
    parts = [query] if variants is None else [query.where(publication.c.variant_id.in_(some))
                                              for some in chunks(variants)]
    return {
        row.variant_id: PublishedRow(decode_shown(row.value), row.value, row.published_at)
        for part in parts for row in conn.execute(part)
    }


def read_baselines(conn: sa.Connection, storefront: str, variants: Sequence[str]) -> dict[str, Baseline]:
    """What each variant shows, or will once the queue is empty; variants never let go are missing.

    The tasks are locked until the transaction ends: what is queued next carries on with their due times and versions,
    and must not do so from one that was settled meanwhile.
    """
    found: dict[str, Baseline] = {}
    for some in chunks(variants):
        shown = sa.select(publication.c.variant_id, publication.c.value).where(
            publication.c.storefront == storefront, publication.c.variant_id.in_(some)
        )
        found.update({row.variant_id: Baseline(row.value) for row in conn.execute(shown)})
        queued = sa.select(publish_task).where(
            publish_task.c.storefront == storefront, publish_task.c.variant_id.in_(some)
        )
        for row in conn.execute(queued.order_by(publish_task.c.variant_id).with_for_update()):
            task = WaitingTask(row.version, row.due_at, row.tries, row.error)
            found[row.variant_id] = Baseline(row.value, task)
    return found


def count_shown(conn: sa.Connection, storefront: str, *, with_stock: bool) -> int:
    """How many offers the storefront shows, or will once its queue is empty; only those above zero if asked."""
    published = sa.select(publication.c.variant_id, publication.c.value).where(publication.c.storefront == storefront)
    queued = sa.select(publish_task.c.variant_id, publish_task.c.value).where(publish_task.c.storefront == storefront)
    waiting = sa.select(publish_task.c.variant_id).where(publish_task.c.storefront == storefront)
    rows = sa.union_all(published.where(publication.c.variant_id.not_in(waiting)), queued).subquery()
    query = sa.select(sa.func.count()).select_from(rows).where(rows.c.value.not_like(_HIDDEN))
    if with_stock:
        query = query.where(rows.c.value.not_like(_ZERO))
    return int(conn.execute(query).scalar_one())


def read_activated(
    conn: sa.Connection, storefront: str, variants: Sequence[str], *, at: dt.datetime | None = None,
) -> set[str]:
    """Which of these variants a person has let be shown in this storefront (by `at`, if given)."""
    found: set[str] = set()
    for some in chunks(variants):
        query = sa.select(activation.c.variant_id).where(
            activation.c.storefront == storefront, activation.c.variant_id.in_(some)
        )
        if at is not None:
            query = query.where(activation.c.activated_at <= at)
        found.update(conn.execute(query).scalars())
    return found


def _offer_row(row: Any) -> OfferRow:
    return OfferRow(
        row.storefront, row.variant_id, row.state, decode_stored(row.value), row.fingerprint, row.decided_at
    )
