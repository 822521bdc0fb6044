"""The mailbox: a long poll by which an agent learns what head office wants of it.

Messages are at-least-once: each stays until the agent names it in `done`. A message whose kind the agent
does not know is answered as not done and stays; it never blocks the others.
"""

from typing import Literal

import msgspec

from tillbridge_protocol.errors import UNREADABLE
from tillbridge_protocol.limits import POLL_WAIT_S_MAX
from tillbridge_protocol.orders import OrderId, OrderStandings, SignedOrder
from tillbridge_protocol.records import Text


class DecideHold(msgspec.Struct, frozen=True, tag_field="kind", tag="decide_hold"):
    """A person at head office decided about a hold of this agent."""

    hold: Text
    decision: Literal["approve", "reject"]
    reason: str
    by: str


class LookAgain(msgspec.Struct, frozen=True, tag_field="kind", tag="look_again"):
    """Read this feed's current export again, as if it had just changed."""

    feed: Text


class PlaceOrder(msgspec.Struct, frozen=True, tag_field="kind", tag="place_order"):
    """Place this order at the till; a higher revision replaces an earlier one."""

    order: SignedOrder


class MarkOrder(msgspec.Struct, frozen=True, tag_field="kind", tag="mark_order"):
    """A person at head office looked, or a till's sale proves it: this order is in the till, or called off."""

    order: OrderId
    revision: int
    mark: Literal["imported", "cancelled"]
    reason: str
    by: str


Body = DecideHold | LookAgain | PlaceOrder | MarkOrder


class Message(msgspec.Struct, frozen=True):
    """One message; `body` stays raw so that an unknown kind harms nothing else."""

    id: Text
    body: msgspec.Raw


class Poll(msgspec.Struct, frozen=True):
    """What the agent asks: how long to wait, which messages it has dealt with, and whether to be told its orders.

    `standings` asks what the server knows of this agent's orders; the answer has them only when the position in
    the request is the server's own (DESIGN §5.7).
    """

    wait_s: float = POLL_WAIT_S_MAX
    done: list[str] = []
    standings: bool = False


class Mail(msgspec.Struct, frozen=True, tag_field="answer", tag="mail", omit_defaults=True):
    """The messages that wait, oldest first; empty after the wait. `standings` only when they were asked for."""

    messages: list[Message]
    standings: OrderStandings | None = None


_BODY: msgspec.json.Decoder[Body] = msgspec.json.Decoder(Body)


def decode_body(raw: msgspec.Raw | bytes) -> Body | None:
    """The body of a message, or None when it is of a kind or form unknown here."""
    try:
        return _BODY.decode(raw)
    except UNREADABLE:
        return None
