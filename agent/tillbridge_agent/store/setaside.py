"""What waits for a person at the agent: held files, quarantined files and rows; each kept with its reason."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from tillbridge_agent.core.rows import Problem
from tillbridge_agent.store.database import SQL

QUARANTINE_LISTED_MAX = 500
SAMPLE_MAX = 20
#: Rows of one file kept in quarantine; beyond it the count still tells (`rows_rejected`).
ROWS_KEPT_MAX = 200
#: Files of one feed that wait for a person, with their copies; of more the oldest are closed as gone, because what
#: counts is the newest. A till that exports every five minutes must not fill its disk over a weekend.
HOLDS_OPEN_MAX = 10
FILES_OPEN_MAX = 20


def hold_file(
    conn: sqlite3.Connection, *, feed: str, file: str, sha256: str, mtime_ns: int, since: str,
    reason: tuple[str, str, str], affected: int, sample: Sequence[Mapping[str, str | None]],
) -> str:
    """Hold a believable-looking file; returns the hold's id. The same content is held once, for its latest reason."""
    open_one = conn.execute(SQL["hold_open_of_content"], (feed, sha256)).fetchone()
    fresh = "h" + hashlib.sha256(f"{feed}/{sha256}/{since}".encode()).hexdigest()[:11]
    hold_id = str(open_one["id"]) if open_one else fresh
    code, message, hint = reason
    conn.execute(SQL["hold_put"], {
        "id": hold_id, "feed": feed, "file": file, "sha256": sha256, "mtime_ns": mtime_ns, "since": since,
        "code": code, "message": message, "hint": hint, "affected": affected,
        "sample": json.dumps(list(sample)[:SAMPLE_MAX]),
    })
    conn.execute(SQL["hold_bound"], (since, feed, feed, HOLDS_OPEN_MAX))
    return hold_id


def quarantine_file(
    conn: sqlite3.Connection, *, feed: str, file: str, sha256: str, since: str, reason: tuple[str, str, str],
) -> str:
    """Set an unreadable file aside; its copy is kept."""
    code, message, hint = reason
    quarantine_id = _id(feed, "file", sha256, code)
    conn.execute(SQL["quarantine_put"], {
        "id": quarantine_id, "feed": feed, "file": file, "sha256": sha256, "since": since, "code": code,
        "message": message, "hint": hint, "line": 0, "column": "", "text": "", "whole_file": 1,
    })
    conn.execute(SQL["quarantine_bound"], (feed, feed, FILES_OPEN_MAX))
    return quarantine_id


def quarantine_rows(
    conn: sqlite3.Connection, *, feed: str, file: str, sha256: str, since: str, problems: Sequence[Problem],
    cleared: Sequence[Problem], whole: bool,
) -> None:
    """Set aside what could not be read in the rows of an accepted file, the first ROWS_KEPT_MAX of it.

    A cell counts when its record was held back and the last known value stays; an unusable barcode holds
    nothing back. `cleared` are the problems of rows that are not in the file any more; with `whole` all rows
    were looked at, so what was set aside before is closed first. Equal texts in one column are one entry that
    counts them.
    """
    if whole:
        conn.execute(SQL["quarantine_rows_close"], (feed,))
    for one in cleared:
        conn.execute(SQL["quarantine_row_cleared"], (_row_id(feed, one),))
    for one in [problem for problem in problems if _holds_back(problem)][:ROWS_KEPT_MAX]:
        conn.execute(SQL["quarantine_put"], {
            "id": _row_id(feed, one), "feed": feed, "file": file, "sha256": sha256, "since": since, "code": one.code,
            "message": one.message, "hint": one.hint, "line": one.line, "column": one.column,
            "text": one.text[:1024], "whole_file": 0,
        })


def _holds_back(problem: Problem) -> bool:
    return problem.effect == "row" or not problem.code.startswith("gtin_")


def _row_id(feed: str, problem: Problem) -> str:
    return _id(feed, problem.column, problem.code, problem.text)


def _id(*parts: str) -> str:
    return "q" + hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()[:11]


def state_of(conn: sqlite3.Connection, feed: str, sha256: str) -> str | None:
    """`open` when this very content waits for a person, `rejected` or `dropped` when one has spoken, else None."""
    for statement in ("hold_of_content", "quarantine_of_content"):
        if row := conn.execute(SQL[statement], (feed, sha256)).fetchone():
            return str(row["state"])
    return None


def holds(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Open holds."""
    rows = [dict(row) for row in conn.execute(SQL["hold_list"])]
    return [{**row, "sample": json.loads(row["sample"])} for row in rows]


def hold(conn: sqlite3.Connection, hold_id: str) -> dict[str, Any] | None:
    """One hold, whatever its state."""
    row = conn.execute(SQL["hold_get"], (hold_id,)).fetchone()
    return None if row is None else {**dict(row), "sample": json.loads(row["sample"])}


def decide(conn: sqlite3.Connection, hold_id: str, state: str, by: str, why: str, now: str) -> bool:
    """Close an open hold as approved, rejected or gone; False when it was not open."""
    return conn.execute(SQL["hold_decide"], (state, now, by, why, hold_id)).rowcount == 1


def quarantine(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Open quarantine entries, newest first, at most QUARANTINE_LISTED_MAX."""
    return [dict(row) for row in conn.execute(SQL["quarantine_list"], (QUARANTINE_LISTED_MAX,))]


def quarantined(conn: sqlite3.Connection, quarantine_id: str) -> dict[str, Any] | None:
    """One quarantine entry, whatever its state."""
    row = conn.execute(SQL["quarantine_get"], (quarantine_id,)).fetchone()
    return None if row is None else dict(row)


def close_quarantined(conn: sqlite3.Connection, quarantine_id: str, state: str) -> bool:
    """Close an entry as `retried` or `dropped`; False when it was not open."""
    return conn.execute(SQL["quarantine_close"], (state, quarantine_id)).rowcount == 1


def counts(conn: sqlite3.Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Open holds and quarantine entries by feed."""
    held = {row["feed"]: row["n"] for row in conn.execute(SQL["hold_count"])}
    bad = {row["feed"]: row["n"] for row in conn.execute(SQL["quarantine_count"])}
    return held, bad


def referenced_copies(conn: sqlite3.Connection) -> set[str]:
    """Hashes of the staged copies that must stay."""
    return {row["sha256"] for row in conn.execute(SQL["copies_referenced"])}
