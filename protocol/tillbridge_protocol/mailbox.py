"""The mailbox: a long poll by which an agent learns what head office wants of it.

Messages are at-least-once: each stays until the agent names it in `done`. A message whose kind the agent
does not know is answered as not done and stays; it never blocks the others.
"""

from typing import Literal

import msgspec

from tillbridge_protocol.errors import UNREADABLE
from tillbridge_protocol.limits import POLL_WAIT_S_MAX
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


Body = DecideHold | LookAgain


class Message(msgspec.Struct, frozen=True):
    """One message; `body` stays raw so that an unknown kind harms nothing else."""

    id: Text
    body: msgspec.Raw


class Poll(msgspec.Struct, frozen=True):
    """What the agent asks: how long to wait, and which messages it has dealt with."""

    wait_s: float = POLL_WAIT_S_MAX
    done: list[str] = []


class Mail(msgspec.Struct, frozen=True, tag_field="answer", tag="mail"):
    """The messages that wait, oldest first; empty after the wait."""

    messages: list[Message]


_BODY: msgspec.json.Decoder[Body] = msgspec.json.Decoder(Body)


def decode_body(raw: msgspec.Raw | bytes) -> Body | None:
    """The body of a message, or None when it is of a kind or form unknown here."""
    try:
        return _BODY.decode(raw)
    except UNREADABLE:
        return None
