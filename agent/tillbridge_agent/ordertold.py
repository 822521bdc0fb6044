"""What people are told of web orders: the documents of the verbs, the counts and problems of the status."""

import datetime as dt
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from tillbridge_agent.store import order_answers, orders
from tillbridge_protocol.orders import EXPIRED, PUBLISHED, READY, RECEIVED, REJECTED, TAKEN, UNCERTAIN

#: A till that has not answered for so long may not have the order.
ANSWERED_WITHIN = dt.timedelta(minutes=30)
_LOOK_FOR_IT = (
    "Look for {id} at the till. If it is there: tillbridge-agent orders mark {id} imported. "
    "If it is not, head office can send it again."
)
#: What a person at the till does, by state; `again` and `cancelled` are head office's words.
_NEXT_STEPS = {
    PUBLISHED: "Start the import at the till. If it is there: tillbridge-agent orders mark {id} imported.",
    TAKEN: _LOOK_FOR_IT,
    UNCERTAIN: _LOOK_FOR_IT,
    REJECTED: "Put right what the reason names; head office can send it again. Keyed in by hand: "
              "tillbridge-agent orders mark {id} imported.",
    EXPIRED: "Head office asks the shopper, and sends the order again or calls it off.",
}
_PROBLEMS = {
    PUBLISHED: ("order_unanswered", "Order {id} lies in the import folder as {file} since {since}."),
    TAKEN: ("order_unanswered", "The till has taken order {id} at {since} and has not answered."),
    UNCERTAIN: ("order_uncertain", "Nobody can tell whether order {id} is in the till. {message}"),
    REJECTED: ("order_rejected", "Order {id} is refused: {message}"),
    EXPIRED: ("order_expired", "Order {id} was not placed in time. {message}"),
}


@dataclass(frozen=True)
class OrderFacts:
    """What the database says of all orders: how many by state, those that need a person, odd answer files."""

    counts: dict[str, int]
    attention: list[dict[str, Any]]
    odd_answers: list[dict[str, Any]]


def read_orders(conn: sqlite3.Connection, now: dt.datetime) -> OrderFacts:
    """All of it, consistent."""
    return OrderFacts(
        orders.counts(conn), orders.attention(conn, (now - ANSWERED_WITHIN).isoformat()),
        order_answers.problems(conn, now),
    )


def shown_counts(facts: OrderFacts) -> dict[str, int]:
    """The counts of the status; `published` are those the till has not said anything of."""
    count = facts.counts.get
    return {
        "received": count(RECEIVED, 0), "ready": count(READY, 0),
        "published": count(PUBLISHED, 0) + count(TAKEN, 0), "uncertain": count(UNCERTAIN, 0),
    }


def problems(facts: OrderFacts) -> list[dict[str, str]]:
    """Orders and answers that need a person, each with what to do."""
    found = []
    for row in facts.attention:
        code, words = _PROBLEMS[row["state"]]
        told = words.format(id=row["id"], since=row["state_at"][:16].replace("T", " ") + " UTC", file=row["file"],
                            message=row["message"] or "")
        found.append({"code": code, "message": told.strip(), "hint": _NEXT_STEPS[row["state"]].format(id=row["id"])})
    found += [
        {"code": "answer_odd", "message": f"The till's answer {one['name']}: {one['problem']}",
         "hint": "Look at the order at the till; what its answers may say is in [orders.answers]."}
        for one in facts.odd_answers
    ]
    return found


def order_document(row: Mapping[str, Any], now: dt.datetime) -> dict[str, Any]:
    """An order as `orders list` prints it; `overdue`: a person must look."""
    since = dt.datetime.fromisoformat(row["state_at"])
    late = row["state"] in (PUBLISHED, TAKEN) and now - since > ANSWERED_WITHIN
    return {
        "id": row["id"], "revision": row["revision"], "state": row["state"], "since": _z(row["state_at"]),
        "received_at": _z(row["received_at"]), "placed_at": _z(row["placed_at"]) if row["placed_at"] else None,
        "sequence": row["sequence"], "file": row["file"], "code": row["code"], "message": row["message"],
        "overdue": late or row["state"] in (UNCERTAIN, REJECTED, EXPIRED),
        "next_step": _NEXT_STEPS.get(row["state"], "").format(id=row["id"]),
    }


def full_document(row: Mapping[str, Any], now: dt.datetime) -> dict[str, Any]:
    """The same with what was ordered, for a person at the till; null once it is forgotten."""
    held = orders.order_of(row)
    document = order_document(row, now)
    names = ("storefront", "number", "currency", "not_after", "total", "lines", "shopper")
    if held is None:
        return {**document, **dict.fromkeys(names)}
    plain = json.loads(msgspec.json.encode(held))
    plain["total"] = format(held.total.quantize(Decimal("0.01")), "f")
    plain["not_after"] = _z(held.not_after.isoformat())
    plain["lines"] = [{"title": None, **line} for line in plain["lines"]]
    plain.setdefault("shopper", {})
    return {**document, **{name: plain[name] for name in names}}


def _z(text: str) -> str:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
