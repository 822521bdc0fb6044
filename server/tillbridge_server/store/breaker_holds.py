"""What a judgement means in rows: holds opened, extended and closed, their items, the tallies of their causes."""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tillbridge_server.core.breakers import (
    PRICE_DROP,
    SAMPLE_MAX,
    TO_ZERO,
    Cause,
    HeldItem,
    Judgement,
    Shift,
    Tally,
    sample_of,
)
from tillbridge_server.core.ownership import OWNER_MISSING
from tillbridge_server.core.settings import BreakersConfig, StorefrontConfig
from tillbridge_server.store.fact_writes import chunks, upsert
from tillbridge_server.store.tables import breaker_tally, hold, hold_item

#: What a hold is called in `what`, by its code.
WHAT = {TO_ZERO: "breaker", PRICE_DROP: "breaker", OWNER_MISSING: "conflict"}


def read_items(conn: sa.Connection, storefront: str, variants: Sequence[str]) -> dict[tuple[str, str], HeldItem]:
    """The items of these variants that still matter, by (variant, code of the hold)."""
    found = {}
    for some in chunks(variants):
        query = (
            sa.select(hold_item, hold.c.code).join(hold, hold.c.id == hold_item.c.hold_id)
            .where(hold_item.c.storefront == storefront, hold_item.c.variant_id.in_(some))
        )
        for row in conn.execute(query):
            found[row.variant_id, row.code] = HeldItem(row.hold_id, row.fingerprint, row.verdict)
    return found


def read_tallies(
    conn: sa.Connection, storefront: str, shifts: Iterable[Shift],
) -> dict[tuple[str, str], Tally]:
    """What the causes of these shifts have done so far, by (breaker, cause key)."""
    keys = sorted({shift.cause.key for shift in shifts})
    found = {}
    for some in chunks(keys):
        query = sa.select(breaker_tally).where(
            breaker_tally.c.storefront == storefront, breaker_tally.c.cause.in_(some)
        )
        for row in conn.execute(query):
            found[row.breaker, row.cause] = Tally(row.passed, row.holds, row.hold_id)
    return found


def write_judgement(
    conn: sa.Connection, storefront: StorefrontConfig, judgement: Judgement,
    items: Mapping[tuple[str, str], HeldItem], limits: BreakersConfig, now: dt.datetime,
) -> None:
    """Open, extend and close holds of one storefront as judged; a hold with nothing left is gone by itself."""
    touched: set[str] = set()
    _drop_items(conn, storefront.id, judgement.spent, items)
    touched |= {items[key].hold_id for key in judgement.spent}
    new_ids = _open_holds(conn, storefront, judgement, limits, now)
    rows, joined = [], defaultdict(list)
    for shift in judgement.held:
        hold_id = judgement.hold_of[shift.key] or new_ids[shift.breaker, shift.cause]
        before = items.get(shift.key)
        if before is None or (before.hold_id, before.fingerprint) != (hold_id, shift.fingerprint):
            joined[hold_id].append(shift)
            rows.append({
                "hold_id": hold_id, "storefront": storefront.id, "variant_id": shift.variant,
                "fingerprint": shift.fingerprint, "verdict": None,
            })
    upsert(conn, hold_item, rows, ("hold_id", "storefront", "variant_id"))
    touched |= set(joined)
    spent = {variant for variant, _ in judgement.spent}
    for hold_id in sorted(touched):
        _refresh(conn, hold_id, joined.get(hold_id, []), spent, now)


def close_tallies(conn: sa.Connection, hold_id: str) -> None:
    """A decided or closed hold is no longer extended; what follows from the same cause is judged afresh."""
    conn.execute(breaker_tally.update().where(breaker_tally.c.hold_id == hold_id).values(hold_id=None))


def _drop_items(
    conn: sa.Connection, storefront: str, spent: Sequence[tuple[str, str]], items: Mapping[tuple[str, str], HeldItem],
) -> None:
    if not spent:
        return
    conn.execute(
        hold_item.delete().where(
            hold_item.c.hold_id == sa.bindparam("of"), hold_item.c.storefront == sa.bindparam("shop"),
            hold_item.c.variant_id == sa.bindparam("one"),
        ),
        [{"of": items[key].hold_id, "shop": storefront, "one": key[0]} for key in spent],
    )


def _open_holds(
    conn: sa.Connection, storefront: StorefrontConfig, judgement: Judgement, limits: BreakersConfig, now: dt.datetime,
) -> dict[tuple[str, Cause], str]:
    """Write the tallies, and a hold for each cause that tripped now; returns the new holds' ids."""
    opened: dict[tuple[str, Cause], str] = {}
    tallies = []
    for (breaker, cause), tally in sorted(judgement.tallies.items(), key=lambda pair: pair[0]):
        tripped = any(
            judgement.hold_of[shift.key] is None and (shift.breaker, shift.cause) == (breaker, cause)
            for shift in judgement.held
        )
        hold_id = _hold_id(conn, storefront.id, breaker, cause, tally.holds) if tripped else None
        if hold_id is not None:
            opened[breaker, cause] = hold_id
            conn.execute(hold.insert().values(
                id=hold_id, what=WHAT[breaker], place=cause.where or storefront.id, since=now, code=breaker,
                affected=0, sample="[]", state="open", agent_id=None,
                **_words(storefront, breaker, cause, limits),
            ))
        tallies.append({
            "storefront": storefront.id, "breaker": breaker, "cause": cause.key, "passed": tally.passed,
            "holds": tally.holds, "hold_id": hold_id, "since": now,
        })
    upsert(conn, breaker_tally, tallies, ("storefront", "breaker", "cause"))
    return opened


def _refresh(conn: sa.Connection, hold_id: str, joined: Sequence[Shift], spent: set[str], now: dt.datetime) -> None:
    """Count an open hold's items anew and keep its sample true; with none left its state is gone."""
    row = conn.execute(sa.select(hold.c.state, hold.c.sample).where(hold.c.id == hold_id)).one()
    if row.state != "open":
        return
    affected = conn.execute(
        sa.select(sa.func.count()).select_from(hold_item)
        .where(hold_item.c.hold_id == hold_id, hold_item.c.verdict.is_(None))
    ).scalar_one()
    replaced = spent | {shift.variant for shift in joined}
    sample = [one for one in json.loads(row.sample) if one.get("variant") not in replaced]
    sample = (sample + [sample_of(shift) for shift in joined])[:SAMPLE_MAX]
    values: dict[str, Any] = {"affected": affected, "sample": json.dumps(sample, ensure_ascii=False)}
    if affected == 0:
        values |= {"state": "gone", "decided_at": now}
        close_tallies(conn, hold_id)
    conn.execute(hold.update().where(hold.c.id == hold_id).values(**values))


def _hold_id(conn: sa.Connection, storefront: str, breaker: str, cause: Cause, number: int) -> str:
    """The same cause makes the same ids, so that deciding again after a crash makes the same hold.

    A tally that was forgotten counts from 1 again, but holds are kept: the next free number it is.
    """
    stem = f"b-{hashlib.sha256(f'{storefront}|{breaker}|{cause.key}'.encode()).hexdigest()[:12]}-"
    # Every number lies between the stem and the stem with a colon, the character after 9.
    taken = set(conn.execute(sa.select(hold.c.id).where(hold.c.id.between(stem, f"{stem}:"))).scalars())
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def _words(storefront: StorefrontConfig, breaker: str, cause: Cause, limits: BreakersConfig) -> dict[str, str]:
    """Message and hint of a new hold, as a shopkeeper reads them."""
    file = f"{cause.file or 'A change'} of {cause.where}" if cause.where else "A change of the rules"
    if breaker == TO_ZERO:
        limit = f"{limits.to_zero.share * 100:g} %"
        message = (
            f"{file} would take more than {limit} of the offers in {storefront.title} to zero at once. "
            "Until you decide, the storefront keeps what it shows of them."
        )
        hint = "Look at the file. Approve if they are truly gone, reject if the file is wrong."
        return {"message": message, "hint": hint}
    if breaker == PRICE_DROP:
        limit, by = f"{limits.price_drop.share * 100:g} %", f"{limits.price_drop.by * 100:g} %"
        message = (
            f"{file} would lower more than {limit} of the prices in {storefront.title} by more than {by} each. "
            "Until you decide, the storefront keeps the prices it shows; stock goes on being published."
        )
        hint = "Look at the prices. Approve if they are meant, reject if the file is wrong."
        return {"message": message, "hint": hint}
    message = (
        f"Feeds disagree about {cause.file} and none of them is its owner. "
        f"{storefront.title} keeps what it shows of it; everything else goes on being published."
    )
    hint = f"Name the owner in server.toml under [owners], for example \"{cause.file}\" = [\"location/feed\"]."
    return {"message": message, "hint": hint}
