"""The shadow set: a full state arrives part by part beside the facts and is swapped in with its last part."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tillbridge_protocol.changes import Change, FeedInfo, FullPart
from tillbridge_server.store.fact_writes import Where, compact, fact_row, upsert, write_rows
from tillbridge_server.store.tables import fact, fact_shadow

_KEY = ("location_id", "feed", "kind", "code")


def collect(conn: sa.Connection, where: Where, part: FullPart, changes: Sequence[Change]) -> None:
    """Add one part; the first part of a full state throws away what an earlier one left."""
    if part.part == 0:
        conn.execute(_of_feed(fact_shadow.delete(), where, part.feed))
    rows = {(change.kind, change.key): {**fact_row(where, change), "full_id": part.id} for change in changes}
    upsert(conn, fact_shadow, list(rows.values()), _KEY)


def swap(conn: sa.Connection, where: Where, part: FullPart, info: FeedInfo) -> int:
    """Make the shadow set the facts of its feed; returns how many facts differ afterwards.

    What the full state does not name is gone, unless absence means nothing for this feed.
    """
    parts = _of_feed(sa.select(fact_shadow), where, part.feed).where(fact_shadow.c.full_id == part.id)
    shadow = conn.execute(parts.order_by(fact_shadow.c.kind, fact_shadow.c.code)).mappings().all()
    rows: list[dict[str, Any]] = [{key: value for key, value in row.items() if key != "full_id"} for row in shadow]
    for row in rows:
        row["applied_at"] = where.now
    if info.absence != "nothing":
        named = {(row["kind"], row["code"]) for row in rows}
        facts = _of_feed(sa.select(fact.c.kind, fact.c.code), where, part.feed, fact)
        here = facts.where(~fact.c.gone).order_by(fact.c.kind, fact.c.code)
        present = [(row.kind, row.code) for row in conn.execute(here)]
        rows += [_gone_row(where, part.feed, kind, code) for kind, code in present if (kind, code) not in named]
    differing = write_rows(conn, where, {part.feed: info.numbering}, rows)
    conn.execute(_of_feed(fact_shadow.delete(), where, part.feed))
    return differing


def drop_of_agent(conn: sa.Connection, agent_id: str) -> None:
    """A new epoch starts its full states from the first part: what was under way is void."""
    conn.execute(fact_shadow.delete().where(fact_shadow.c.agent_id == agent_id))


def _of_feed(statement: Any, where: Where, feed: str, table: sa.Table = fact_shadow) -> Any:
    return statement.where(table.c.location_id == where.location, table.c.feed == feed)


def _gone_row(where: Where, feed: str, kind: str, code: str) -> dict[str, Any]:
    return {
        "location_id": where.location, "feed": feed, "kind": kind, "code": code, "gone": True,
        "value": compact({}), "as_of_from": None, "as_of_to": None, "as_of_kind": None, "file": "", "sha256": "",
        "line": 0, "text": "", "agent_id": where.agent, "captured_at": None, "applied_at": where.now,
    }
