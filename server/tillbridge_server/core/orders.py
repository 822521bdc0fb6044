"""Web orders as the rules see them: what a storefront sells, our number for it, and when a person must look."""

import datetime as dt
import re
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from tillbridge_protocol.errors import UNREADABLE
from tillbridge_protocol.orders import FINAL, PUBLISHED, READY, RECEIVED, ROUTED, TAKEN, Order, OrderLine, Shopper
from tillbridge_protocol.records import plain

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


def order_prefix(storefront: str) -> str:
    """How our numbers for a storefront's orders begin; no two storefronts of one server may share it."""
    return re.sub(r"[^A-Z0-9]", "", storefront.upper())[:12] or "W"


def order_id(storefront: str, number: str) -> str:
    """Our number for a storefront's order: always the same for the same order, at most 40 letters, digits, dashes.

    Capital letters only, because tills write everything so, and Windows takes both for one file name.
    """
    kept = re.sub(r"[^A-Z0-9-]", "-", number.upper())[-27:].strip("-")
    return f"{order_prefix(storefront)}-{kept}"


def fault(storefront: str, order: StorefrontOrder) -> str | None:
    """Why an order can never be placed, in a sentence without personal data; None when nothing is wrong with it.

    What this lets through can be kept by every database and read by every agent.
    """
    numbers = [one.line for one in order.lines]
    if len(set(numbers)) != len(numbers):
        return "Two of its lines have the same number."
    for one in order.lines:
        if not (one.quantity.is_finite() and one.unit_price.is_finite()) or one.quantity <= 0 or one.unit_price < 0:
            return f"Its line {one.line} says {one.quantity} pieces at {one.unit_price}."
    try:
        lines = [
            OrderLine(one.line, one.variant, plain(one.quantity), plain(one.unit_price), one.title)
            for one in order.lines
        ]
        written = msgspec.json.encode(Order(
            order_id(storefront, order.number), 1, "agent", "location", storefront, order.number, order.placed_at,
            order.placed_at, order.currency, lines, order.shopper,
        ))
        msgspec.json.decode(written, type=Order)
    except (*UNREADABLE, ValueError) as error:
        return f"It cannot be written as an order: {error}."
    shopper = order.shopper
    texts = [order.number, *(getattr(shopper, name) for name in shopper.__struct_fields__)]
    texts += [text for one in order.lines for text in (one.variant, one.title)]
    return "One of its texts holds a NUL character." if any("\0" in (text or "") for text in texts) else None


def patience(state: str) -> dt.timedelta | None:
    """How long an order may stay in a state before a person should look; zero is at once, None is never."""
    if state in FOR_A_PERSON:
        return dt.timedelta(0)
    return None if state in FINAL else _LIMITS.get(state, COUNTED_WITHIN)


def overdue(state: str, state_at: dt.datetime, now: dt.datetime) -> bool:
    """Whether a person should look at an order that has been in this state since `state_at`."""
    limit = patience(state)
    return limit is not None and (not limit or now - state_at > limit)
