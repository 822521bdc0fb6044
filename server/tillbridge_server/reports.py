"""The documents of the command line, dashboard and admin door (one shape for all), and the acts of a person.

Every function takes a connection and returns plain builtins: decimals and times as text, None where unknown,
lists sorted by their first key.
"""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from tillbridge_protocol.limits import KEY_CHARS_MAX
from tillbridge_protocol.mailbox import DecideHold
from tillbridge_server.agents import mailbox
from tillbridge_server.agents.fleet import agent_hold_id, decision_id
from tillbridge_server.core.availability import Term
from tillbridge_server.core.facts import Source
from tillbridge_server.core.offers import ShownSale, encode, shown_from_stored
from tillbridge_server.core.pricing import Pricing
from tillbridge_server.core.settings import Rules, StorefrontConfig
from tillbridge_server.core.visibility import LIVE
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store import dead_letters as letters
from tillbridge_server.store import explaining, ledger_reading
from tillbridge_server.store import holds as hold_store
from tillbridge_server.store import offers as offer_store
from tillbridge_server.store.holds import HoldRow, Verdict
from tillbridge_server.store.offers import OfferRow, PublishedRow
from tillbridge_server.store.tables import agent as agent_table
from tillbridge_server.store.types import instant_text

Document = dict[str, Any]


def offers(
    conn: sa.Connection, rules: Rules, *, storefront: str | None = None, variant: str | None = None, now: dt.datetime,
) -> Document:
    """What each storefront should show and what we know it shows. Raises NotKnown."""
    shops = [_storefront(rules, storefront)] if storefront is not None else list(rules.storefronts)
    wanted = None if variant is None else variants_of(conn, [variant])
    lines: list[Document] = []
    for shop in sorted(shops, key=lambda shop: shop.id):
        rows = offer_store.read_offers(conn, storefront=shop.id, variants=wanted)
        published = offer_store.read_published(conn, shop.id, wanted)
        refused = _refused(conn, rows, published)
        lines += [_offer(row, published.get(row.variant), row.variant in refused) for row in rows]
    return {"v": 1, "at": instant_text(now), "offers": lines}


def explain(
    conn: sa.Connection, rules: Rules, what: str, *, storefront: str | None = None,
    at: str | dt.datetime | None = None, now: dt.datetime,
) -> Document:
    """Why a storefront (the first one unless named) shows what it shows for a variant or code.

    Raises NotKnown, or NotPossible for an instant without zone.
    """
    if storefront is None and not rules.storefronts:
        raise NotKnown("No storefront is configured.", "Add one under [[storefronts]] in server.toml.")
    shop = _storefront(rules, storefront) if storefront is not None else rules.storefronts[0]
    variant = variants_of(conn, [what])[0]
    told = explaining.explain_offer(conn, rules, shop, variant, now=now, at=_instant(at))
    offer, stock, pricing = told.offer, told.offer.availability, told.offer.pricing
    return {
        "v": 1, "storefront": shop.id, "variant": variant, "at": instant_text(told.at),
        "codes": list(offer.codes), "title": offer.title,
        "available": {
            "value": _number(stock.value), "unclamped": _number(stock.unclamped),
            "terms": sorted((_term(term) for term in stock.terms), key=_term_order),
            "places": [{"location": one.location, "state": one.state, "count": _number(one.count)}
                       for one in stock.places],
        },
        "price": _price(pricing),
        "visibility": {"state": told.state.state, "why": list(told.state.why)},
        "breakers": [
            {"hold": hold.id, "code": hold.code, "state": item.verdict or hold.state, "message": hold.message}
            for hold, item in told.holds
        ],
        "conflicts": [
            {"field": conflict.field, "values": [{"where": where, "value": value} for where, value in conflict.values]}
            for _, conflict in offer.conflicts
        ],
        "published": _published(told.published),
    }


def ledger(conn: sa.Connection, *, kind: str) -> Document:
    """The ledger entries of one kind."""
    return {"v": 1, "entries": [
        {
            "id": entry.id, "kind": entry.kind, "location": entry.location, "code": entry.code,
            "quantity": _number(entry.quantity), "price": _number(entry.price), "at": instant_text(entry.at),
            "source": _source(entry.source),
        }
        for entry in ledger_reading.read_entries(conn, kind)
    ]}


def holds(conn: sa.Connection) -> Document:
    """What waits for a person."""
    return {"v": 1, "holds": [
        {
            "id": hold.id, "what": hold.what, "where": hold.place, "since": instant_text(hold.since),
            "reason": {"code": hold.code, "message": hold.message, "hint": hold.hint}, "affected": hold.affected,
            "sample": list(hold.sample),
        }
        for hold in hold_store.read_holds(conn)
    ]}


def dead_letters(conn: sa.Connection) -> Document:
    """What was finally refused."""
    return {"v": 1, "dead_letters": [
        {
            "id": letter.id, "from": letter.origin, "where": letter.place, "since": instant_text(letter.since),
            "code": letter.code, "message": letter.message, "payload_sha256": letter.payload_sha256,
        }
        for letter in letters.read_dead_letters(conn)
    ]}


def agents(conn: sa.Connection) -> Document:
    """Every enrolled agent with its state."""
    rows = conn.execute(sa.select(agent_table).order_by(agent_table.c.id))
    return {"v": 1, "agents": [
        {
            "id": row.id, "location": row.location_id, "status": row.status,
            "enrolled_at": instant_text(row.enrolled_at),
            "last_seen_at": None if row.last_seen_at is None else instant_text(row.last_seen_at),
            "position": {"epoch": row.epoch, "seq": row.seq, "head": row.head, "durable_seq": row.durable_seq},
        }
        for row in rows
    ]}


def variants_of(conn: sa.Connection, names: Sequence[str]) -> list[str]:
    """The variants of these ids or codes, in their order. Raises NotKnown or NotPossible."""
    return explaining.find_variants(conn, names)


def decide_hold(
    conn: sa.Connection, hold_id: str, verdict: Verdict, *, by: str, why: str, now: dt.datetime,
) -> str:
    """Approve or reject a hold; returns its new state. One that lives at an agent is told to it by mail.

    Raises NotKnown, or NotPossible when it cannot be decided this way.
    """
    if verdict not in {"approve", "reject"}:
        raise NotPossible(f"{verdict!r} is no decision.", "Use approve or reject.")
    decided: HoldRow = hold_store.close_hold(conn, hold_id, verdict, by=by, why=why, now=now)
    if decided.agent_id is not None:
        # The whole reason stands in the audit log; a longer text than the wire allows would never be read there.
        body = DecideHold(agent_hold_id(hold_id), verdict, reason=why.strip()[:KEY_CHARS_MAX], by=by[:KEY_CHARS_MAX])
        mailbox.put(conn, decided.agent_id, decision_id(hold_id) + instant_text(now), body, now)
    return decided.state


def _storefront(rules: Rules, storefront: str) -> StorefrontConfig:
    for shop in rules.storefronts:
        if shop.id == storefront:
            return shop
    known = ", ".join(shop.id for shop in rules.storefronts) or "none"
    raise NotKnown(f"There is no storefront {storefront!r}.", f"server.toml names: {known}.")


def _refused(conn: sa.Connection, rows: Sequence[OfferRow], published: dict[str, PublishedRow]) -> set[str]:
    """The variants whose present value the storefront refused."""
    ids = {}
    for row in rows:
        text = encode(shown_from_stored(row.value)) if row.state == LIVE else None
        if text is not None and (row.variant not in published or published[row.variant].text != text):
            ids[letters.storefront_letter_id(row.storefront, row.variant, text)] = row.variant
    return {ids[letter] for letter in letters.known_letters(conn, sorted(ids))}


def _offer(row: OfferRow, published: PublishedRow | None, refused: bool) -> Document:
    value = row.value
    return {
        "storefront": row.storefront, "variant": row.variant, "codes": list(value.codes), "title": value.title,
        "state": row.state, "why": [*value.why, *(["refused"] if refused else [])],
        "available": _number(value.available), "currency": value.currency, "list_price": _number(value.list_price),
        "sale": _sale(value.sale), "price_now": _number(value.price_now), "published": _published(published),
    }


def _published(row: PublishedRow | None) -> Document | None:
    """None when nothing was ever shown, or it was taken off again."""
    if row is None or row.shown is None:
        return None
    return {
        "available": _number(row.shown.available), "price": _number(row.shown.price_now), "at": instant_text(row.at),
    }


def _sale(sale: ShownSale | None) -> Document | None:
    return None if sale is None else {"price": _number(sale.price), "from": sale.from_, "to": sale.to}


def _price(pricing: Pricing) -> Document:
    sale = pricing.sale
    return {
        "value": _number(pricing.price_now), "rule": pricing.rule,
        "source": None if pricing.source is None else _source(pricing.source),
        "currency": pricing.currency, "list_price": _number(pricing.list_price), "was": _number(pricing.was),
        "sale": None if sale is None else _sale(ShownSale(sale.price, sale.from_, sale.to)),
    }


def _term(term: Term) -> Document:
    return {
        "term": term.term, "value": _number(term.value), "location": term.location, "order": term.order,
        "rule": term.rule, "source": None if term.source is None else _source(term.source),
    }


def _term_order(term: Document) -> tuple[str, ...]:
    source = term["source"] or {"feed": "", "file": ""}
    return term["term"], term["location"], term["order"] or "", source["feed"], source["file"], term["value"]


def _source(source: Source) -> Document:
    return {
        "agent": source.agent, "feed": source.feed, "file": source.file, "sha256": source.sha256, "line": source.line,
        "text": source.text, "as_of": None if source.as_of is None else [instant_text(one) for one in source.as_of],
        "as_of_kind": source.as_of_kind,
        "captured_at": None if source.captured_at is None else instant_text(source.captured_at),
        "applied_at": instant_text(source.applied_at),
    }


def _number(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _instant(at: str | dt.datetime | None) -> dt.datetime | None:
    if at is None:
        return None
    hint = "Write it as 2026-11-23T14:30:00+01:00 or with Z."
    try:
        instant = dt.datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError as error:
        raise NotPossible(f"{at!r} is no instant.", hint) from error
    if instant.tzinfo is None:
        raise NotPossible(f"{at!r} does not say its zone.", hint)
    return instant.astimezone(dt.UTC)
