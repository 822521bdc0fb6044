"""The outbox: queued changes, the frozen batch in flight, the position, and what each transaction does to them.

Freezing moves queued changes into the immutable bytes of one batch; the same transaction deletes them, so
that a key changed again meanwhile waits for the next batch. Settling forgets what was acked and keeps events
until they are durable. A new epoch drops every queued state change, because each feed sends its full state,
and puts the events that may be lost back into the queue; their natural ids make a repeat harmless.
"""

import datetime as dt
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tillbridge_agent import crash
from tillbridge_agent.store import order_states
from tillbridge_agent.store.database import SQL
from tillbridge_protocol.changes import (
    NO_HEAD,
    Change,
    FeedInfo,
    FrozenBatch,
    FullPart,
    encode_change,
    freeze,
    open_batch,
)
from tillbridge_protocol.limits import BATCH_BYTES_MAX, BATCH_CHANGES_MAX
from tillbridge_protocol.positions import Ack, Position
from tillbridge_protocol.records import EVENT_KINDS, AsOf

#: feed.full: 0 nothing is owed, 1 a full state is owed, 2 its parts are being cut from the copy named by FULL_COPY.
UNDER_WAY = 2
FULL_COPY = "full_copy"


@dataclass(frozen=True)
class Sender:
    """Who freezes: the identity every batch names, and what the server must know of each feed."""

    agent: str
    location: str
    feeds: dict[str, FeedInfo]


@dataclass(frozen=True)
class Backlog:
    """What waits: queued and frozen changes, their bytes, and the capture instant of the oldest (UTC ISO)."""

    changes: int
    events: int
    bytes: int
    oldest_at: str | None
    in_flight: bool
    fulls: int

    @property
    def waiting(self) -> bool:
        """True when there is anything to send."""
        return self.in_flight or self.fulls > 0 or self.changes + self.events > 0


@dataclass
class Part:
    """The next part of a full state, already read and mapped: encoded changes and whether it is the last."""

    feed: str
    full_id: str
    number: int
    changes: list[bytes] = field(default_factory=list)
    last: bool = False


def position(conn: sqlite3.Connection) -> Position | None:
    """The acked position, or None before the first epoch began."""
    epoch = meta(conn, "epoch")
    if epoch is None:
        return None
    return Position(epoch=epoch, seq=int(meta(conn, "seq") or 0), head=meta(conn, "head") or NO_HEAD)


def ensure_epoch(conn: sqlite3.Connection, new_epoch: str) -> Position:
    """The position; a database that has none yet begins its first epoch."""
    found = position(conn)
    if found is None:
        _set_position(conn, Position(new_epoch, 0, NO_HEAD))
        return Position(new_epoch, 0, NO_HEAD)
    return found


def put_changes(conn: sqlite3.Connection, changes: Sequence[Change], captured_at: str) -> None:
    """Queue changes: the latest per key for state kinds, every one for events."""
    for change in changes:
        event = change.kind in EVENT_KINDS
        conn.execute(
            SQL["event_put" if event else "change_put"],
            (change.feed, change.kind, change.key, encode_change(change), captured_at),
        )


def backlog(conn: sqlite3.Connection) -> Backlog:
    """Everything that waits to be acked."""
    state = {"n": 0, "bytes": 0}
    events = {"n": 0, "bytes": 0}
    oldest: list[str] = []
    for row in conn.execute(SQL["change_stats"]):
        target = events if row["event"] else state
        target["n"], target["bytes"] = row["n"], row["bytes"]
        oldest.append(row["oldest_at"])
    frozen = conn.execute(SQL["batch_stats"]).fetchone()
    oldest += [frozen["oldest_at"]] if frozen["n"] else []
    fulls = conn.execute("SELECT count(*) FROM feed WHERE full > 0").fetchone()[0]
    return Backlog(
        changes=state["n"] + frozen["changes"] - frozen["events"], events=events["n"] + frozen["events"],
        bytes=state["bytes"] + events["bytes"] + frozen["bytes"], oldest_at=min(oldest, default=None),
        in_flight=frozen["n"] > 0, fulls=fulls,
    )


def in_flight(conn: sqlite3.Connection) -> FrozenBatch | None:
    """The batch that was frozen and is not acked yet."""
    row = conn.execute(SQL["batch_in_flight"]).fetchone()
    return None if row is None else FrozenBatch(row["epoch"], row["seq"], row["head"], row["body"])


def freeze_changes(
    conn: sqlite3.Connection, sender: Sender, now: str, *, events_wait: bool = True,
) -> FrozenBatch | None:
    """Freeze queued changes: states of orders, current state, other events; None when nothing may go yet.

    Changes of a feed whose full state is still to be sent wait for it; events wait for all full states, unless
    `events_wait` is False because none of those can be cut. States of orders wait for nothing: an order is
    placed only when they are acked, and a shopper waits for it.
    """
    assert in_flight(conn) is None, "one batch is in flight at a time"
    taken = _fill(conn.execute(SQL["change_next_order_states"], (BATCH_CHANGES_MAX,)))
    orders = len(taken)
    if len(taken) < BATCH_CHANGES_MAX:
        taken += _fill(conn.execute(SQL["change_next_states"], (BATCH_CHANGES_MAX - len(taken),)), taken)
    if len(taken) < BATCH_CHANGES_MAX and not (events_wait and conn.execute(SQL["feed_full_due"]).fetchone()):
        taken += _fill(conn.execute(SQL["change_next_events"], (BATCH_CHANGES_MAX - len(taken),)), taken)
    if not taken:
        return None
    conn.executemany(SQL["change_delete"], [(row["id"],) for row in taken])
    events = sum(row["event"] for row in taken)
    feeds = {name: _feed_info(conn, sender, name, None) for name in sorted({row["feed"] for row in taken})}
    return _put_batch(conn, sender, feeds, None, [row["body"] for row in taken], (events, orders), now)


def freeze_part(conn: sqlite3.Connection, sender: Sender, part: Part, now: str) -> FrozenBatch | None:
    """Freeze one part of a full state; with the last one the feed's own changes may follow.

    None when the feed owes another full state by now: the part was cut under a mapping that is no longer used.
    """
    assert in_flight(conn) is None, "one batch is in flight at a time"
    row = conn.execute(SQL["feed_get"], (part.feed,)).fetchone()
    if row is None or row["full"] != UNDER_WAY:
        return None
    if part.last:
        conn.execute(SQL["feed_full_done"], (part.feed,))
        drop_meta(conn, FULL_COPY)
    full = FullPart(feed=part.feed, id=part.full_id, part=part.number, last=part.last)
    feeds = {part.feed: _feed_info(conn, sender, part.feed, full)}
    return _put_batch(conn, sender, feeds, full, part.changes, (0, 0), now)


def freeze_nothing(conn: sqlite3.Connection, sender: Sender, now: str) -> FrozenBatch | None:
    """An empty batch that begins the epoch at head office; None when it has begun."""
    at = position(conn)
    if at is None or at.seq > 0 or in_flight(conn) is not None:
        return None
    return _put_batch(conn, sender, {}, None, [], (0, 0), now)


def settle(conn: sqlite3.Connection, ack: Ack) -> None:
    """The server has the batch in flight: move the position, forget what is durable."""
    flying = in_flight(conn)
    assert flying is not None
    assert (flying.epoch, flying.seq, flying.head) == (ack.epoch, ack.seq, ack.head)
    conn.execute(SQL["batch_ack"], (ack.epoch, ack.seq))
    _set_position(conn, Position(ack.epoch, ack.seq, ack.head))
    forget_durable(conn, ack.epoch, ack.durable_seq)
    count(conn, "batches_sent")
    if ack.repeated:
        count(conn, "batches_repeated")
    crash.reach("ack.writing")


def forget_durable(conn: sqlite3.Connection, epoch: str, durable_seq: int) -> None:
    """Acked batches are kept only for events that a restored server would not have."""
    conn.execute(SQL["batch_prune"], (epoch, durable_seq))
    put_meta(conn, "durable_seq", str(durable_seq))


def start_epoch(conn: sqlite3.Connection, new_epoch: str) -> None:
    """Begin a new epoch: every feed sends its full state, events that may be lost are queued again.

    Orders tell their present state as well: nothing is placed until head office has told what it knows of them.
    """
    events = [tuple(row) for row in conn.execute(SQL["event_all"])]
    sent = [
        raw for row in conn.execute(SQL["batch_all"]).fetchall() if row["events"]
        for raw in open_batch(row["body"]).changes
    ]
    conn.execute("DELETE FROM change")
    # The bytes go on as they are: whether a change can be believed is the server's to say.
    conn.executemany(SQL["event_put"], [_event(raw, kept) for raw in sent if (kept := _peek(raw)).kind in EVENT_KINDS])
    conn.executemany(SQL["event_put"], events)
    order_states.tell_all(conn)
    conn.execute(SQL["batch_clear"])
    conn.execute(SQL["feed_full_all"])
    _set_position(conn, Position(new_epoch, 0, NO_HEAD))
    count(conn, "epochs_started")


def adopt(conn: sqlite3.Connection, agent: str, new_epoch: str) -> None:
    """Make the outbox this identity's: after enrolling anew, what the old one froze would be refused for ever."""
    owner = meta(conn, "agent")
    if owner is not None and owner != agent and position(conn) is not None:
        start_epoch(conn, new_epoch)
    put_meta(conn, "agent", agent)


def meta(conn: sqlite3.Connection, name: str) -> str | None:
    """A single value by name."""
    row = conn.execute(SQL["meta_get"], (name,)).fetchone()
    return None if row is None else str(row["value"])


def put_meta(conn: sqlite3.Connection, name: str, value: str) -> None:
    """Keep a single value by name."""
    conn.execute(SQL["meta_put"], (name, value))


def drop_meta(conn: sqlite3.Connection, name: str) -> None:
    """Forget a single value."""
    conn.execute(SQL["meta_drop"], (name,))


def count(conn: sqlite3.Connection, name: str, n: int = 1) -> None:
    """Add to a counter that `status` shows."""
    if n:
        conn.execute(SQL["count"], (name, n))


def counters(conn: sqlite3.Connection) -> dict[str, int]:
    """Every counter by name."""
    return {row["name"]: row["n"] for row in conn.execute(SQL["counters"])}


class _Evidence(msgspec.Struct, frozen=True):
    captured_at: dt.datetime | None = None


class _Peek(msgspec.Struct):
    feed: str
    kind: str
    key: str
    source: _Evidence = _Evidence()


_PEEK = msgspec.json.Decoder(_Peek)


def _peek(raw: msgspec.Raw) -> _Peek:
    return _PEEK.decode(raw)


def _event(raw: msgspec.Raw, change: _Peek) -> tuple[str, str, str, bytes, str]:
    """An event of a batch as it stood in the queue."""
    at = change.source.captured_at
    return change.feed, change.kind, change.key, bytes(raw), at.astimezone(dt.UTC).isoformat() if at else ""


def _fill(rows: sqlite3.Cursor, taken: Sequence[sqlite3.Row] = ()) -> list[sqlite3.Row]:
    """As many rows as fit the byte bound of a batch, counting what is already taken."""
    size = sum(len(row["body"]) for row in taken)
    fitting: list[sqlite3.Row] = []
    for row in rows:
        size += len(row["body"])
        if size > BATCH_BYTES_MAX and (fitting or taken):
            break
        fitting.append(row)
    return fitting


def _feed_info(conn: sqlite3.Connection, sender: Sender, name: str, full: FullPart | None) -> FeedInfo:
    """The feed's description; with its as-of when this batch leaves nothing of the last file behind."""
    info = sender.feeds.get(name) or _remembered(conn, name)
    as_of = _complete_as_of(conn, name) if full is None or full.last else None
    return info if as_of is None else msgspec.structs.replace(info, as_of=as_of)


def confirmed(conn: sqlite3.Connection) -> dict[str, AsOf]:
    """By feed, when its last accepted file was true, where the server has everything of that file."""
    if in_flight(conn) is not None:
        return {}
    names = [row["name"] for row in conn.execute(SQL["feed_all"])]
    return {name: as_of for name in names if (as_of := _complete_as_of(conn, name)) is not None}


def _complete_as_of(conn: sqlite3.Connection, name: str) -> AsOf | None:
    """The as-of interval of a feed's last file, when nothing of it is queued or owed, and it had every count.

    It speaks for every row. Where a count could not be read, and the one before is kept, it would prove that sold
    pieces are counted which are not: then the older one stays.
    """
    row = conn.execute(SQL["feed_get"], (name,)).fetchone()
    if row is None or row["full"] or row["as_of_from"] is None or any(
        conn.execute(SQL[query], (name,)).fetchone() for query in ("change_left", "kept_counts")
    ):
        return None
    start, end = dt.datetime.fromisoformat(row["as_of_from"]), dt.datetime.fromisoformat(row["as_of_to"])
    return AsOf(start, end, row["as_of_kind"])


def remember_feeds(conn: sqlite3.Connection, sender: Sender) -> None:
    """Keep what is known of each configured feed, for what is still to be sent of it when it is configured no more."""
    for name, info in sender.feeds.items():
        put_meta(conn, f"feed {name}", msgspec.json.encode(info).decode())


def _remembered(conn: sqlite3.Connection, name: str) -> FeedInfo:
    """A feed that was taken out of the configuration: its codes are still those of its numbering."""
    kept = meta(conn, f"feed {name}")
    return FeedInfo(numbering="main") if kept is None else msgspec.json.decode(kept, type=FeedInfo)


def _put_batch(
    conn: sqlite3.Connection, sender: Sender, feeds: dict[str, FeedInfo], full: FullPart | None,
    bodies: list[bytes], counted: tuple[int, int], now: str,
) -> FrozenBatch:
    """`counted`: how many of the changes are events, and how many of those are states of orders."""
    at = position(conn)
    assert at is not None
    frozen = freeze(
        agent=sender.agent, location=sender.location, epoch=at.epoch, seq=at.seq + 1, prev=at.head,
        feeds=feeds, full=full, changes=bodies,
    )
    conn.execute(SQL["batch_put"], (
        frozen.epoch, frozen.seq, frozen.head, frozen.body, len(bodies), counted[0], now,
        full.feed if full else None, int(full.last) if full else 0, counted[1],
    ))
    crash.reach("freeze.writing")
    return frozen


def _set_position(conn: sqlite3.Connection, at: Position) -> None:
    for name, value in (("epoch", at.epoch), ("seq", str(at.seq)), ("head", at.head)):
        put_meta(conn, name, value)
