"""Dead letters: what was well-formed and finally refused, kept with its payload."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tillbridge_server.store.fact_writes import chunks, upsert
from tillbridge_server.store.tables import dead_letter


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter without its payload; `origin` is agent or storefront, `place` which one."""

    id: str
    origin: str
    place: str
    since: dt.datetime
    code: str
    message: str
    payload_sha256: str


def read_dead_letters(conn: sa.Connection) -> list[DeadLetter]:
    """All dead letters, sorted by id."""
    columns = [dead_letter.c[name] for name in DeadLetter.__dataclass_fields__]
    return [DeadLetter(*row) for row in conn.execute(sa.select(*columns).order_by(dead_letter.c.id))]


def storefront_letter_id(storefront: str, variant: str, value: str) -> str:
    """The id of the dead letter a storefront's refusal of this value makes; the same refusal is one letter."""
    return "s-" + hashlib.sha256("\n".join((storefront, variant, value)).encode()).hexdigest()[:20]


def refuse_value(
    conn: sa.Connection, storefront: str, variant: str, value: str, *, code: str, message: str, now: dt.datetime,
) -> str:
    """Keep a value a storefront finally refused; returns the letter's id."""
    letter_id = storefront_letter_id(storefront, variant, value)
    payload = value.encode()
    upsert(conn, dead_letter, [{
        "id": letter_id, "origin": "storefront", "place": storefront, "since": now, "code": code,
        "message": f"{variant}: {message}", "payload": payload, "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }], ("id",))
    return letter_id


def refuse_order(
    conn: sa.Connection, storefront: str, number: str, payload: bytes, *, code: str, message: str, now: dt.datetime,
) -> None:
    """Keep an order of a storefront that cannot be taken in; the same order is one letter, the first time is kept."""
    letter_id = "o-" + hashlib.sha256("\n".join((storefront, number)).encode(errors="replace")).hexdigest()[:20]
    if letter_id not in known_letters(conn, [letter_id]):
        conn.execute(dead_letter.insert().values(
            id=letter_id, origin="storefront", place=storefront, since=now, code=code,
            message=_plain(f"Order {number[:80]}: {message}"), payload=payload,
            payload_sha256=hashlib.sha256(payload).hexdigest(),
        ))


def _plain(text: str) -> str:
    """What every database takes as text."""
    return text.replace("\0", "\u2400").encode(errors="replace").decode()


def clear_refusal(conn: sa.Connection, letter_ids: Sequence[str]) -> None:
    """Remove refusals that no longer hold: the storefront has since taken that very value."""
    for some in chunks(letter_ids):
        conn.execute(dead_letter.delete().where(dead_letter.c.id.in_(some)))


def known_letters(conn: sa.Connection, letter_ids: Sequence[str]) -> set[str]:
    """Which of these letters exist."""
    found: set[str] = set()
    for some in chunks(letter_ids):
        found.update(conn.execute(sa.select(dead_letter.c.id).where(dead_letter.c.id.in_(some))).scalars())
    return found
