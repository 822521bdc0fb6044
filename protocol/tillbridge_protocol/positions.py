"""Positions: where an agent's outbox stands, the server's answer to it, and the headers that carry both.

Numbers alone are not enough (DESIGN §5.4): a position is (epoch, seq, head), an ack names the batch hash,
and each request carries (boot id, counter), which tells clones and restored machines apart.
"""

import re
from typing import Annotated, Literal

import msgspec

from tillbridge_protocol.errors import ProtocolError

#: One life of an outbox; random, drawn by the agent. Also the form of boot ids.
Epoch = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
#: SHA-256 of a batch's bytes in hex; empty before the first batch of an epoch.
Head = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")]

POSITION_HEADER = "tillbridge-position"
BOOT_HEADER = "tillbridge-boot"

_POSITION = re.compile(r'ep="([A-Za-z0-9_-]{1,64})", seq=(0|[1-9][0-9]{0,14}), head="((?:[0-9a-f]{64})?)"')
_BOOT = re.compile(r'id="([A-Za-z0-9_-]{1,64})", n=([1-9][0-9]{0,14})')


class Position(msgspec.Struct, frozen=True):
    """The last acked batch of an epoch; seq 0 and an empty head before the first."""

    epoch: Epoch
    seq: Annotated[int, msgspec.Meta(ge=0)]
    head: Head

    def header(self) -> str:
        """The value of the position header (an RFC 9651 dictionary)."""
        return f'ep="{self.epoch}", seq={self.seq}, head="{self.head}"'


class Boot(msgspec.Struct, frozen=True):
    """One start of one agent process, and how many requests it has made."""

    id: Epoch
    n: Annotated[int, msgspec.Meta(ge=1)]

    def header(self) -> str:
        """The value of the boot header (an RFC 9651 dictionary)."""
        return f'id="{self.id}", n={self.n}'


class DeadNote(msgspec.Struct, frozen=True):
    """One change of a consumed batch that was set aside: its place in the batch (0 = first), code and reason."""

    index: int
    code: str
    message: str


class Ack(msgspec.Struct, frozen=True, tag_field="answer", tag="ack"):
    """The server has this batch: its position, what is durable, and what was set aside."""

    epoch: Epoch
    seq: int
    head: Head
    durable_seq: int
    repeated: bool = False
    dead: list[DeadNote] = []


class Resync(msgspec.Struct, frozen=True, tag_field="answer", tag="resync"):
    """Start a new epoch with a full state; echoes the position it answers, so that a late one is ignored."""

    answers: Position
    reason: Literal["behind", "ahead", "fork", "old_epoch", "asked"]


class ErrorAnswer(msgspec.Struct, frozen=True, tag_field="answer", tag="error"):
    """A signed refusal; `retry_after_s` is set with `busy` and `unavailable`."""

    code: str
    message: str
    hint: str
    retry_after_s: float | None = None


def read_position(value: str) -> Position:
    """Decode the position header. Raises ProtocolError `malformed`."""
    match = _POSITION.fullmatch(value)
    if not match:
        raise ProtocolError("malformed", f"The {POSITION_HEADER} header cannot be read: {value[:80]!r}.")
    return Position(epoch=match[1], seq=int(match[2]), head=match[3])


def read_boot(value: str) -> Boot:
    """Decode the boot header. Raises ProtocolError `malformed`."""
    match = _BOOT.fullmatch(value)
    if not match:
        raise ProtocolError("malformed", f"The {BOOT_HEADER} header cannot be read: {value[:80]!r}.")
    return Boot(id=match[1], n=int(match[2]))
