"""The heartbeat: periodic health facts of an agent; sent in the batch lane, so it carries the full position."""

from typing import Literal

import msgspec

from tillbridge_protocol.records import AsOf, Instant


class FeedHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one feed is doing; ages are told by the instants, never computed here."""

    name: str
    state: Literal["idle", "pending", "held", "failing", "stopped"]
    accepted_at: Instant | None = None
    accepted_file: str = ""
    rows: int = 0
    pending_since: Instant | None = None
    holds: int = 0
    quarantined: int = 0
    problem: str = ""
    #: When its last accepted file was true; only while nothing of it waits to be sent.
    as_of: AsOf | None = None


class HeldFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file or change held at the agent, shown at head office, where a person may decide too."""

    id: str
    feed: str
    file: str
    since: Instant
    code: str
    message: str
    hint: str
    affected: int = 0
    sample: list[dict[str, str | None]] = []


class Quarantined(msgspec.Struct, frozen=True, omit_defaults=True):
    """An unreadable file or row, told without its content."""

    id: str
    feed: str
    file: str
    since: Instant
    code: str
    message: str
    line: int = 0


class DeviceHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one scanner is doing; counts are since it was set up, `problem` is words for a person."""

    name: str
    type: str
    state: Literal["open", "missing", "failing"]
    last_at: Instant | None = None
    scans: int = 0
    repeated: int = 0
    noise: int = 0
    problem: str = ""


class OrdersHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether this agent can place web orders: how many are in each of its states, and what hinders it, if anything."""

    states: dict[str, int] = {}
    problem: str = ""


class Heartbeat(msgspec.Struct, frozen=True):
    """Everything head office must know of one agent now; `orders` None: it is not configured to place orders."""

    version: str
    at: Instant
    outbox_changes: int
    outbox_events: int
    oldest_unacked_at: Instant | None
    feeds: list[FeedHealth]
    holds: list[HeldFile]
    quarantine: list[Quarantined]
    disk_free_bytes: int
    counters: dict[str, int]
    orders: OrdersHealth | None = None
    devices: list[DeviceHealth] = []


class HeartbeatAnswer(msgspec.Struct, frozen=True, tag_field="answer", tag="heartbeat"):
    """The position the server has for this agent, for comparison, and what is durable."""

    epoch: str
    seq: int
    head: str
    durable_seq: int
