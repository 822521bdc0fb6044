"""What the till answered: every version of an answer file once, with the steps of the orders it speaks of."""

import datetime as dt
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tillbridge_agent.store import orders, outbox
from tillbridge_agent.store.database import SQL
from tillbridge_protocol.orders import ACCEPTED, CANCELLED, COUNTED, RECEIVED, REJECTED, SOLD, leads_to

TEXT_CHARS_MAX = 4_000
PROBLEM_CHARS_MAX = 1_000
#: The raw text of an answer is kept for as long as somebody may ask; that it was read is kept for ever.
FORGET_AFTER = dt.timedelta(days=30)
SHOWN_FOR = dt.timedelta(days=7)
_SHOWN_MAX = 20


@dataclass(frozen=True)
class Said:
    """One answer: the order as the till writes it, `accepted` or `rejected`, its words, and the line in the file."""

    order: str
    state: str
    message: str
    line: int


def known(conn: sqlite3.Connection, sha256: str, name: str) -> bool:
    """Whether this content of this file was dealt with."""
    return conn.execute(SQL["answer_known"], (sha256, name)).fetchone() is not None


def versions(conn: sqlite3.Connection, name: str) -> list[tuple[str, int]]:
    """Hash and size of the versions of a file that were dealt with, the longest first."""
    return [(row["sha256"], row["bytes"]) for row in conn.execute(SQL["answer_versions"], (name,))]


def take(
    conn: sqlite3.Connection, *, name: str, sha256: str, size: int, text: str, said: Sequence[Said],
    problems: Sequence[str], now: str,
) -> int:
    """Keep an answer file and take the steps its answers lead to, in one transaction; how many orders moved.

    A repeated answer changes nothing. One that comes before our own `published` counts; what cannot be so, for
    example of an order nobody knows, is kept as a problem for a person.
    """
    if known(conn, sha256, name):
        return 0
    moved, odd = 0, list(problems)
    for one in said:
        problem = _answer(conn, one, now)
        moved += problem is None
        if problem:
            odd.append(f"Line {one.line}: {problem}")
    problem_text = " ".join(odd)[:PROBLEM_CHARS_MAX] or None
    conn.execute(SQL["answer_put"], (sha256, name, now, size, text[:TEXT_CHARS_MAX], problem_text))
    outbox.count(conn, "order_answers")
    return moved


def problems(conn: sqlite3.Connection, now: dt.datetime) -> list[dict[str, Any]]:
    """Answer files of the last days with something in them that a person must look at, newest first."""
    since = (now - SHOWN_FOR).isoformat()
    return [dict(row) for row in conn.execute(SQL["answer_problems"], (since, _SHOWN_MAX))]


def forget(conn: sqlite3.Connection, now: dt.datetime) -> None:
    """Forget the raw text of old answers."""
    conn.execute(SQL["answer_forget"], ((now - FORGET_AFTER).isoformat(),))


def _answer(conn: sqlite3.Connection, said: Said, now: str) -> str | None:
    """Take the step of one answer: None when it did, "" when it says nothing new, else what is odd about it."""
    row = orders.newest(conn, said.order) or _spelled_otherwise(conn, said.order)
    if row is None:
        return f"The till answers for order {said.order}, which this agent does not know."
    state, told = str(row["state"]), ACCEPTED if said.state == ACCEPTED else REJECTED
    over = (ACCEPTED, SOLD, COUNTED) if told == ACCEPTED else (REJECTED,)
    if state in over:
        return ""
    if told == REJECTED and state == RECEIVED:
        return f"The till refuses order {row['id']}, whose file was not placed yet."
    if not leads_to(state, told):
        word = "has" if told == ACCEPTED else "refuses"
        more = ", but it was called off" if state == CANCELLED else ""
        return f"The till says it {word} order {row['id']}, which is {state} here{more}."
    code = "till_rejected" if told == REJECTED else None
    words = said.message or ("The till gives no reason." if told == REJECTED else "")
    orders.step(conn, row["id"], row["revision"], told, now, code=code, message=words)
    return None


def _spelled_otherwise(conn: sqlite3.Connection, order: str) -> dict[str, Any] | None:
    """Tills write everything in capital letters."""
    row = conn.execute(SQL["order_spelled"], (order,)).fetchone()
    return None if row is None else dict(row)
