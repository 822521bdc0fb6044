"""Web orders on their way to a till: the signed order, its states as one table, and what both sides say of them.

The table is the only place that says which state may follow which: agent and server step through `follow`,
the diagram in README.md and the tests are made from it. An order is placed exactly once (DESIGN §5.7); a new
try of the same order is a new revision, which a person asks for.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tillbridge_protocol.errors import UNREADABLE, ProtocolError
from tillbridge_protocol.records import Currency, Instant, Text

#: Order numbers are part of file names and of till receipts: letters, digits and dashes only.
OrderId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,39}\Z")]
#: The feed that order states travel under; no configured feed can have this name.
ORDERS_FEED = "~orders"
_SIGNED = b"tillbridge-order-v1\n"


class State(NamedTuple):
    """What a state means, and what a person does about an order that stays in it ("" = nothing)."""

    meaning: str
    next_step: str


class Step(NamedTuple):
    """One allowed step; `by` is who makes it: server, agent, or a person."""

    before: str
    event: str
    after: str
    by: Literal["server", "agent", "person"]


UNROUTED, ROUTED, RECEIVED, READY, PUBLISHED = "unrouted", "routed", "received", "ready", "published"
TAKEN, ACCEPTED, REJECTED, SOLD, COUNTED = "taken", "accepted", "rejected", "sold", "counted"
UNCERTAIN, EXPIRED, CANCELLED = "uncertain", "expired", "cancelled"

STATES: dict[str, State] = {
    UNROUTED: State(
        "No location can take the order; its stock is reserved nowhere in particular.",
        "Choose a location with `orders route`, or call the order off with `orders mark ORDER cancelled`.",
    ),
    ROUTED: State(
        "A location was chosen and its stock reserved; the order waits for the agent there.",
        "See whether the agent of the location runs and has a line.",
    ),
    RECEIVED: State(
        "The agent has the order and has checked its signature.",
        "See whether the agent reaches the till's import folder; its `status` says what hinders it.",
    ),
    READY: State(
        "The import file is written and waits to be moved into the till's import folder.",
        "See whether the agent reaches the till's import folder; its `status` says what hinders it.",
    ),
    PUBLISHED: State(
        "The import file lies in the till's import folder.",
        "Start the import at the till. If it has been imported, say so: `orders mark ORDER imported`.",
    ),
    TAKEN: State(
        "The till has taken the import file.",
        "Look at the till whether the order is there, then `orders mark ORDER imported`, or `again` if it is not.",
    ),
    ACCEPTED: State("The till has said yes to the order.", "Sell the order at the till under its number."),
    REJECTED: State(
        "The till, or the agent before it, has said no; the reason is with the order.",
        "Put right what the reason names, then `orders mark ORDER again`; or key it in and mark it `imported`.",
    ),
    SOLD: State(
        "The till has sold the order; the stock stays reserved until a later count includes the sale.",
        "See whether the stock export still arrives.",
    ),
    COUNTED: State("A later count includes the sale; nothing is reserved any more.", ""),
    UNCERTAIN: State(
        "After a restore nobody can tell whether the order was placed; nothing is done until a person has looked.",
        "Look for the order number at the till: `orders mark ORDER imported` if it is there, `again` if it is not.",
    ),
    EXPIRED: State(
        "The order could not be placed in time and will not be any more.",
        "Ask the shopper, then `orders mark ORDER again` or `cancelled`.",
    ),
    CANCELLED: State("A person has called the order off; nothing is reserved any more.", ""),
}
#: Nothing follows these but a till's sale.
FINAL = frozenset({COUNTED, CANCELLED})
#: The agent will not place an order, or not once more, that is in one of these.
NEVER_PLACE = frozenset({PUBLISHED, TAKEN, ACCEPTED, REJECTED, SOLD, COUNTED, UNCERTAIN, EXPIRED, CANCELLED})

STEPS: tuple[Step, ...] = (
    Step(UNROUTED, "route", ROUTED, "server"),
    Step(UNROUTED, "cancelled", CANCELLED, "person"),
    Step(ROUTED, "withdraw", UNROUTED, "server"),
    Step(ROUTED, "receive", RECEIVED, "agent"),
    Step(RECEIVED, "spool", READY, "agent"),
    Step(READY, "publish", PUBLISHED, "agent"),
    Step(PUBLISHED, "take", TAKEN, "agent"),
    *(Step(state, "accept", ACCEPTED, "agent") for state in (READY, PUBLISHED, TAKEN, REJECTED, UNCERTAIN)),
    *(Step(state, "reject", REJECTED, "agent") for state in (RECEIVED, READY, PUBLISHED, TAKEN)),
    *(Step(state, "doubt", UNCERTAIN, "agent") for state in (RECEIVED, READY)),
    Step(RECEIVED, "expire", EXPIRED, "agent"),
    *(Step(state, "imported", ACCEPTED, "person") for state in (PUBLISHED, TAKEN, REJECTED, UNCERTAIN)),
    *(Step(state, "again", ROUTED, "person") for state in (TAKEN, REJECTED, UNCERTAIN, EXPIRED)),
    *(Step(state, "cancelled", CANCELLED, "person") for state in (TAKEN, REJECTED, UNCERTAIN, EXPIRED)),
    *(
        Step(state, "sell", SOLD, "server")
        for state in (ROUTED, RECEIVED, READY, PUBLISHED, TAKEN, ACCEPTED, REJECTED, UNCERTAIN, EXPIRED, CANCELLED)
    ),
    Step(SOLD, "count", COUNTED, "server"),
)
_NEXT: dict[tuple[str, str], Step] = {(step.before, step.event): step for step in STEPS}


def follow(state: str, event: str) -> str | None:
    """The state after an event, None where the table has no such step."""
    step = _NEXT.get((state, event))
    return None if step is None else step.after


def leads_to(state: str, told: str) -> bool:
    """Whether an agent's own steps lead from one state to another; tells late and repeated reports from news."""
    reached, todo = {state}, [state]
    while todo:
        here = todo.pop()
        for step in STEPS:
            if step.before == here and step.by == "agent" and step.after not in reached:
                reached.add(step.after)
                todo.append(step.after)
    return told != state and told in reached


def choices(state: str) -> list[str]:
    """What a person may mark an order of this state as, sorted."""
    return sorted(step.event for step in STEPS if step.before == state and step.by == "person")


class Shopper(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who ordered and where it goes; personal data, never in a log."""

    name: str | None = None
    street: str | None = None
    postcode: str | None = None
    city: str | None = None
    country: str | None = None
    phone: str | None = None
    email: str | None = None
    note: str | None = None


class OrderLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: the code in the location's own numbering, pieces, and what the shopper pays for one."""

    line: Annotated[int, msgspec.Meta(ge=1)]
    code: Text
    quantity: Decimal
    unit_price: Decimal
    title: str | None = None


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """One web order for one agent; `id` is our number, under which the till sells it. Times are UTC."""

    id: OrderId
    revision: Annotated[int, msgspec.Meta(ge=1)]
    agent: Text
    location: Text
    storefront: Text
    number: Text
    placed_at: Instant
    not_after: Instant
    currency: Currency
    lines: Annotated[list[OrderLine], msgspec.Meta(min_length=1, max_length=1_000)]
    shopper: Shopper = Shopper()

    @property
    def total(self) -> Decimal:
        """What the shopper pays for all lines."""
        return sum((line.quantity * line.unit_price for line in self.lines), Decimal(0))


class SignedOrder(msgspec.Struct, frozen=True):
    """An order as the exact bytes that were signed (UTF-8 JSON), whose key signed them, and the signature in hex."""

    payload: str
    key_id: str
    signature: str


class OrderStanding(msgspec.Struct, frozen=True):
    """What the server knew of an order: `received_epoch` is the epoch in which `received` was first reported."""

    order: OrderId
    revision: int
    state: str
    received_epoch: str | None = None


class OrderStandings(msgspec.Struct, frozen=True):
    """Every order of this agent that the server does not know to be at rest, for one epoch and position.

    `sequence` is the highest file number the server ever heard of from this location.
    """

    epoch: str
    sequence: int
    orders: list[OrderStanding]


def sign_order(order: Order, key: Ed25519PrivateKey, key_id: str) -> SignedOrder:
    """The order as bytes, signed."""
    payload = msgspec.json.encode(order).decode()
    return SignedOrder(payload, key_id, key.sign(_SIGNED + payload.encode()).hex())


def open_order(signed: SignedOrder, keys: Mapping[str, Ed25519PublicKey]) -> Order:
    """The order, when one of these keys signed exactly these bytes. Raises ProtocolError.

    `key_unknown` for a key that is not among them, `signature_invalid` for other bytes, `malformed` for bytes
    that are no order.
    """
    key = keys.get(signed.key_id)
    if key is None:
        raise ProtocolError("key_unknown", f"The order is signed by {signed.key_id[:80]!r}, which is not known here.")
    try:
        key.verify(bytes.fromhex(signed.signature), _SIGNED + signed.payload.encode())
    except (InvalidSignature, ValueError) as error:
        raise ProtocolError("signature_invalid", "The order is not signed as it says.") from error
    try:
        return msgspec.json.decode(signed.payload, type=Order)
    except UNREADABLE as error:
        raise ProtocolError("malformed", f"The order cannot be read: {error}.") from error
