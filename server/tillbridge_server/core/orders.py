"""Web orders as the rules see them: what a storefront sells, our number for it, and when a person must look."""

import datetime as dt
import re
from dataclasses import dataclass, field
from decimal import Decimal

from tillbridge_protocol.orders import FINAL, PUBLISHED, READY, RECEIVED, ROUTED, TAKEN, Shopper

#: An order that is not placed after this long, or not answered by the till, is shown to a person.
PLACED_WITHIN = dt.timedelta(minutes=15)
ANSWERED_WITHIN = dt.timedelta(minutes=30)
#: A reservation that is open for longer is shown too: a count or a sale line may never come.
COUNTED_WITHIN = dt.timedelta(hours=24)
#: An agent does not place an order any more that is older than this.
ORDER_LIFE = dt.timedelta(days=14)
#: States that wait for a person however young they are.
FOR_A_PERSON = frozenset({"unrouted", "rejected", "uncertain", "expired"})
_LIMITS = {
    ROUTED: PLACED_WITHIN, RECEIVED: PLACED_WITHIN, READY: PLACED_WITHIN,
    PUBLISHED: ANSWERED_WITHIN, TAKEN: ANSWERED_WITHIN,
}


@dataclass(frozen=True, slots=True)
class StorefrontLine:
    """One line as the storefront sold it; the price is for one piece."""

    line: int
    variant: str
    quantity: Decimal
    unit_price: Decimal
    title: str | None = None


@dataclass(frozen=True, slots=True)
class StorefrontOrder:
    """One order as its storefront tells it; `position` counts up in the order they were placed. Times are UTC."""

    position: int
    number: str
    placed_at: dt.datetime
    currency: str
    lines: tuple[StorefrontLine, ...]
    shopper: Shopper = field(default_factory=Shopper)


def order_id(storefront: str, number: str) -> str:
    """Our number for a storefront's order: always the same for the same order, at most 40 letters, digits, dashes."""
    prefix = re.sub(r"[^A-Z0-9]", "", storefront.upper())[:12]
    kept = re.sub(r"[^A-Za-z0-9-]", "-", number)[-27:].strip("-")
    return f"{prefix}-{kept}" if prefix else f"W-{kept}"


def patience(state: str) -> dt.timedelta | None:
    """How long an order may stay in a state before a person should look; zero is at once, None is never."""
    if state in FOR_A_PERSON:
        return dt.timedelta(0)
    return None if state in FINAL else _LIMITS.get(state, COUNTED_WITHIN)


def overdue(state: str, state_at: dt.datetime, now: dt.datetime) -> bool:
    """Whether a person should look at an order that has been in this state since `state_at`."""
    limit = patience(state)
    return limit is not None and (not limit or now - state_at > limit)
