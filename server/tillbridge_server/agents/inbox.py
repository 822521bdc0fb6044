"""The inbox: takes a verified batch or heartbeat of an agent and applies it in the caller's transaction.

Position, facts, ledger and dirty variants move together or not at all (DESIGN §5.3). An authentic next
batch is always consumed; each change that cannot be believed becomes one dead letter, named in the ack.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.changes import Batch, Change, decode_change, head_of, open_batch
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat, HeartbeatAnswer
from tillbridge_protocol.mailbox import Mail, Poll
from tillbridge_protocol.orders import ORDERS_FEED
from tillbridge_protocol.positions import Ack, Boot, DeadNote, Position, Resync
from tillbridge_protocol.records import EVENT_KINDS, AsOf, OrderState
from tillbridge_server.agents import fleet, mailbox
from tillbridge_server.agents.fleet import Agent
from tillbridge_server.core.inbox_rules import BootVerdict, Verdict, judge_batch, judge_position
from tillbridge_server.store import event_writes, fact_writes, order_proof, orders, shadow
from tillbridge_server.store.order_proof import Moves
from tillbridge_server.store.sold import touch_sold
from tillbridge_server.store.tables import agent as agent_table
from tillbridge_server.store.tables import agent_epoch, batch_log, dead_letter, feed

_REASONS = {
    Verdict.BEHIND: "behind", Verdict.AHEAD: "ahead", Verdict.FORK: "fork",
    Verdict.OLD_EPOCH: "old_epoch", Verdict.ASKED: "asked",
}


@dataclass(frozen=True)
class Lane:
    """What a verified request of the batch lane carried: position, boot, and when it was signed (UTC)."""

    position: Position
    boot: Boot
    created: dt.datetime


def receive_batch(
    conn: sa.Connection, agent_id: str, body: bytes, lane: Lane, *, backs_up: bool, now: dt.datetime,
    moves: Moves = lambda location, feed: False,
) -> Ack | Resync:
    """Apply, repeat or refuse one batch, in the caller's transaction.

    `body` was verified already; `moves` tells whose sale lines lower the stock by themselves.
    Raises ProtocolError (`frozen`, `wrong_location`, `malformed`, `version`,
    `too_large`) with nothing changed but the freeze itself.
    """
    batch, head = open_batch(body), head_of(body)
    agent = fleet.get(conn, agent_id)
    if fleet.note_boot(conn, agent, lane.boot, lane.created, now) is BootVerdict.STALE:
        return Resync(answers=lane.position, reason="behind")
    if (batch.agent, batch.location) != (agent.id, agent.location):
        raise ProtocolError("wrong_location", f"This agent speaks for {agent.location}, not for {batch.location}.")
    verdict = judge_batch(
        agent.known, epoch=batch.epoch, seq=batch.seq, prev=batch.prev, head=head,
        epoch_seen=_epoch_seen(conn, agent, batch.epoch), logged_head=_logged_head(conn, agent, batch),
    )
    if verdict is Verdict.REPEAT:
        return _ack_again(conn, agent, batch, head, backs_up)
    if verdict not in (Verdict.APPLY, Verdict.BEGIN):
        return Resync(answers=lane.position, reason=_REASONS[verdict])  # type: ignore[arg-type]
    if verdict is Verdict.BEGIN:
        _begin_epoch(conn, agent, batch.epoch, now)
    dead = _apply(conn, agent, batch, moves, now)
    durable = batch.seq if not backs_up else (0 if verdict is Verdict.BEGIN else agent.durable_seq)
    conn.execute(
        agent_table.update().where(agent_table.c.id == agent.id)
        .values(epoch=batch.epoch, seq=batch.seq, head=head, durable_seq=durable)
    )
    conn.execute(batch_log.insert().values(
        agent_id=agent.id, epoch=batch.epoch, seq=batch.seq, head=head, applied_at=now,
        changes=len(batch.changes), dead=msgspec.json.encode(dead).decode(),
    ))
    return Ack(epoch=batch.epoch, seq=batch.seq, head=head, durable_seq=durable, dead=dead)


def receive_heartbeat(
    conn: sa.Connection, agent_id: str, heartbeat: Heartbeat, lane: Lane, *, now: dt.datetime,
    moves: Moves = lambda location, feed: False,
) -> HeartbeatAnswer | Resync:
    """Keep the health facts and compare positions; sent only while no batch is in flight."""
    agent = fleet.get(conn, agent_id)
    stale = fleet.note_boot(conn, agent, lane.boot, lane.created, now) is BootVerdict.STALE
    if stale:
        return Resync(answers=lane.position, reason="behind")
    fleet.note_heartbeat(conn, agent, heartbeat, now)
    position = lane.position
    verdict = judge_position(
        agent.known, epoch=position.epoch, seq=position.seq, head=position.head,
        epoch_seen=_epoch_seen(conn, agent, position.epoch),
    )
    if verdict is not Verdict.SAME:
        return Resync(answers=position, reason=_REASONS[verdict])  # type: ignore[arg-type]
    for feed_health in heartbeat.feeds:
        _confirm(conn, agent, feed_health.name, feed_health.as_of)
    order_proof.release_counted(conn, agent.location, moves, now)
    return HeartbeatAnswer(
        epoch=agent.known.epoch or "", seq=agent.known.seq, head=agent.known.head, durable_seq=agent.durable_seq
    )


def receive_poll(conn: sa.Connection, agent_id: str, poll: Poll, lane: Lane, *, now: dt.datetime) -> Mail | Resync:
    """Close what the agent has dealt with and hand out what waits; with it, if asked, what is known of its orders.

    Polls go beside the batch lane, so only the epoch is compared. Raises ProtocolError (`frozen`, `key_revoked`).
    """
    known = fleet.get(conn, agent_id).known
    if known.epoch is not None and known.epoch != lane.position.epoch and lane.position.seq > 0:
        return Resync(answers=lane.position, reason="old_epoch")
    messages = mailbox.collect(conn, agent_id, poll.done, now)
    told = orders.standings(conn, agent_id, known, lane.position, now) if poll.standings else None
    return Mail(messages=messages, standings=told)


def _epoch_seen(conn: sa.Connection, agent: Agent, epoch: str) -> bool:
    if epoch == agent.known.epoch:
        return True
    query = sa.select(agent_epoch.c.epoch).where(agent_epoch.c.agent_id == agent.id, agent_epoch.c.epoch == epoch)
    return conn.execute(query).first() is not None


def _logged_head(conn: sa.Connection, agent: Agent, batch: Batch) -> str | None:
    # Not looked for where nothing can be: what is read is what another transaction may collide with.
    if (batch.epoch, batch.seq) != (agent.known.epoch, min(batch.seq, agent.known.seq)):
        return None
    return conn.execute(_log_of(agent.id, batch).with_only_columns(batch_log.c.head)).scalar()


def _log_of(agent_id: str, batch: Batch) -> sa.Select[tuple[str, str]]:
    return sa.select(batch_log.c.head, batch_log.c.dead).where(
        batch_log.c.agent_id == agent_id, batch_log.c.epoch == batch.epoch, batch_log.c.seq == batch.seq
    )


def _ack_again(conn: sa.Connection, agent: Agent, batch: Batch, head: str, backs_up: bool) -> Ack:
    row = conn.execute(_log_of(agent.id, batch)).one()
    dead = msgspec.json.decode(row.dead, type=list[DeadNote])
    durable = agent.durable_seq if backs_up else agent.known.seq
    return Ack(epoch=batch.epoch, seq=batch.seq, head=head, durable_seq=durable, repeated=True, dead=dead)


def _begin_epoch(conn: sa.Connection, agent: Agent, epoch: str, now: dt.datetime) -> None:
    conn.execute(agent_epoch.insert().values(agent_id=agent.id, epoch=epoch, begun_at=now))
    conn.execute(agent_table.update().where(agent_table.c.id == agent.id).values(resync_asked=False))
    shadow.drop_of_agent(conn, agent.id)


def _apply(conn: sa.Connection, agent: Agent, batch: Batch, moves: Moves, now: dt.datetime) -> list[DeadNote]:
    """Every change of the batch: a fact, a ledger entry, a row of the shadow set, or a dead letter."""
    dead: list[DeadNote] = []
    states: list[Change] = []
    events: list[tuple[int, Change]] = []
    for index, raw in enumerate(batch.changes):
        try:
            change = decode_change(raw)
            _believe(batch, change)
        except ProtocolError as error:
            dead.append(_bury(conn, agent, batch, index, bytes(raw), error, now))
            continue
        if change.kind in EVENT_KINDS:
            events.append((index, change))
        else:
            states.append(change)
    _note_feeds(conn, agent, batch, now)
    where = fact_writes.Where(agent.location, agent.id, now)
    if batch.full is None:
        fact_writes.apply_changes(conn, where, batch.feeds, states)
    else:
        shadow.collect(conn, where, batch.full, states)
        if batch.full.last:
            shadow.swap(conn, where, batch.full, batch.feeds[batch.full.feed])
    for index, conflict in event_writes.append(conn, where, events):
        raw_change = bytes(batch.changes[index])
        dead.append(_bury(conn, agent, batch, index, raw_change, conflict, now))
    touch_sold(conn, batch.feeds, (change for _, change in events), now)
    for name, info in batch.feeds.items():
        _confirm(conn, agent, name, info.as_of)
    _follow_orders(conn, agent, batch, [change for _, change in events], moves, now)
    return sorted(dead, key=lambda note: note.index)


def _believe(batch: Batch, change: Change) -> None:
    """What a change must fulfil beyond decoding. Raises ProtocolError `change_refused`."""
    if change.feed not in batch.feeds:
        raise ProtocolError("change_refused", f"The batch does not describe the feed {change.feed!r}.")
    if batch.full is not None and (change.feed != batch.full.feed or change.op != "put" or change.kind in EVENT_KINDS):
        raise ProtocolError("change_refused", "A full state may only put records of its own feed.")
    if change.kind in EVENT_KINDS and change.op != "put":
        raise ProtocolError("change_refused", "An event cannot be taken back; the till books a counter-entry.")


def _bury(
    conn: sa.Connection, agent: Agent, batch: Batch, index: int, raw: bytes, error: ProtocolError, now: dt.datetime,
) -> DeadNote:
    """Keep the change that was set aside, under an id that a repeat would make again."""
    letter = hashlib.sha256(f"{agent.id}/{batch.epoch}/{batch.seq}/{index}".encode()).hexdigest()[:20]
    conn.execute(dead_letter.insert().values(
        id=letter, origin="agent", place=agent.id, since=now, code=error.code, message=error.message,
        payload=raw, payload_sha256=hashlib.sha256(raw).hexdigest(),
    ))
    return DeadNote(index=index, code=error.code, message=error.message)


def _note_feeds(conn: sa.Connection, agent: Agent, batch: Batch, now: dt.datetime) -> None:
    """Remember numbering and absence of each feed; a feed whose numbering changed re-joins its facts."""
    for name, info in batch.feeds.items():
        if name == ORDERS_FEED:  # no feed of the location's, only the name that order states travel under
            continue
        row = conn.execute(
            sa.select(feed).where(feed.c.location_id == agent.location, feed.c.name == name)
        ).first()
        values = {
            "agent_id": agent.id, "numbering": info.numbering, "absence": info.absence, "config": info.config,
        }
        if row is None:
            conn.execute(feed.insert().values(location_id=agent.location, name=name, **values))
        elif any(row._mapping[key] != value for key, value in values.items()):  # noqa: SLF001 - SQLAlchemy's public name
            conn.execute(
                feed.update().where(feed.c.location_id == agent.location, feed.c.name == name).values(**values)
            )
            if row.numbering != info.numbering or row.absence != info.absence:
                fact_writes.touch_feed(conn, agent.location, name, [row.numbering, info.numbering], now)


def _confirm(conn: sa.Connection, agent: Agent, name: str, as_of: AsOf | None) -> None:
    """A feed's as-of moves when the server has everything of its last accepted file."""
    if as_of is not None:
        conn.execute(
            feed.update().where(
                feed.c.location_id == agent.location, feed.c.name == name, feed.c.agent_id == agent.id,
                feed.c.as_of_from.is_distinct_from(as_of.from_) | feed.c.as_of_to.is_distinct_from(as_of.to),
            ).values(as_of_from=as_of.from_, as_of_to=as_of.to, as_of_kind=as_of.kind)
        )


def _follow_orders(
    conn: sa.Connection, agent: Agent, batch: Batch, events: list[Change], moves: Moves, now: dt.datetime,
) -> None:
    """What the batch says of web orders: their states, their sales, and the counts that include these."""
    told = [change.record for change in events if isinstance(change.record, OrderState)]
    orders.hear(conn, agent.location, agent.id, batch.epoch, told, now)
    order_proof.note_sales(conn, agent.location, batch.feeds, events, now)
    order_proof.release_counted(conn, agent.location, moves, now)
