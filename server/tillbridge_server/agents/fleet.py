"""The fleet: who the agents are, what each last said, which of them a person must look at."""

import datetime as dt
import hashlib
import json
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat, HeldFile
from tillbridge_protocol.positions import Boot
from tillbridge_server.core.inbox_rules import Boots, BootVerdict, Known, judge_boot
from tillbridge_server.store.tables import agent as agent_table
from tillbridge_server.store.tables import audit, hold, mailbox
from tillbridge_server.store.types import begins_with

#: A hold that an agent still lists so long after it dealt with the decision is open again: a person must know.
EFFECT_WITHIN = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Agent:
    """One enrolled agent as the inbox needs it."""

    id: str
    location: str
    key_id: str
    public_key: bytes
    status: str
    known: Known
    durable_seq: int
    boots: Boots


def get(conn: sa.Connection, agent_id: str) -> Agent:
    """The agent of this id. Raises ProtocolError `key_unknown`, `key_revoked` or `frozen`."""
    row = conn.execute(sa.select(agent_table).where(agent_table.c.id == agent_id)).mappings().first()
    return _usable(row)


def by_key(conn: sa.Connection, key_id: str) -> Agent:
    """The agent that signs with this key. Raises ProtocolError `key_unknown`, `key_revoked` or `frozen`."""
    row = conn.execute(sa.select(agent_table).where(agent_table.c.key_id == key_id)).mappings().first()
    return _usable(row)


def note_boot(conn: sa.Connection, agent: Agent, boot: Boot, created: dt.datetime, now: dt.datetime) -> BootVerdict:
    """Judge and remember the boot of a request of the batch lane; two machines with one identity are frozen.

    The freeze is not raised as an error here, because an error would roll it back: the request is answered
    as stale, and every later one is refused as `frozen`. Raises ProtocolError `clock` for a start that cannot be
    told from a late packet yet.
    """
    verdict, boots = judge_boot(agent.boots, boot=boot.id, n=boot.n, created=created)
    if verdict is BootVerdict.CLONE:
        freeze(conn, agent, now)
        return BootVerdict.STALE
    if verdict is BootVerdict.EARLY:
        raise ProtocolError("clock", "The agent has started within this very second; it asks again in the next one.")
    if boots != agent.boots:
        last = boots.last or boots.seen[-1][1]
        seen = json.dumps([[one, at.isoformat()] for one, at in boots.seen] + [["", last.isoformat()]])
        conn.execute(
            agent_table.update().where(agent_table.c.id == agent.id)
            .values(boot_id=boots.seen[-1][0], boot_n=boots.n, boots_seen=seen, last_seen_at=now)
        )
    return verdict


def freeze(conn: sa.Connection, agent: Agent, now: dt.datetime) -> None:
    """Stop believing this identity until a person decided which machine is real, and raise the alarm."""
    conn.execute(agent_table.update().where(agent_table.c.id == agent.id).values(status="frozen"))
    conn.execute(hold.insert().values(
        id=_hold_id(agent.id, f"clone {now.isoformat()}"), what="conflict", place=agent.location, since=now,
        code="clone", affected=1, sample="[]", state="open", agent_id=None,
        message=f"Two machines speak as the agent of {agent.location}. Nothing of either is used until you decide.",
        hint="Find the machine that was copied, stop its agent, then enroll the real one with a new code.",
    ))


def revoke(conn: sa.Connection, agent_id: str, by: str, why: str, now: dt.datetime) -> bool:
    """Refuse this agent's key from now on; False when there is no such agent."""
    changed = conn.execute(agent_table.update().where(agent_table.c.id == agent_id).values(status="revoked")).rowcount
    if changed:
        conn.execute(audit.insert().values(at=now, by=by, act="revoke agent", what=agent_id, why=why))
    return bool(changed)


def note_heartbeat(conn: sa.Connection, agent: Agent, heartbeat: Heartbeat, now: dt.datetime) -> None:
    """Keep the latest health facts and bring the list of held files in line with them."""
    conn.execute(
        agent_table.update().where(agent_table.c.id == agent.id)
        .values(heartbeat=msgspec.json.encode(heartbeat).decode(), last_seen_at=now)
    )
    listed = {_hold_id(agent.id, held.id): held for held in heartbeat.holds}
    known = {
        row.id: row.state for row in conn.execute(sa.select(hold.c.id, hold.c.state).where(hold.c.agent_id == agent.id))
    }
    for hold_id, held in listed.items():
        if hold_id not in known:
            conn.execute(hold.insert().values(_hold_row(agent, hold_id, held)))
        elif known[hold_id] == "gone" or (known[hold_id] != "open" and _had_no_effect(conn, agent.id, hold_id, now)):
            row = _hold_row(agent, hold_id, held) | {"decided_at": None, "decided_by": None, "decided_why": None}
            conn.execute(hold.update().where(hold.c.id == hold_id).values(row))
    closed = [hold_id for hold_id, state in known.items() if state == "open" and hold_id not in listed]
    if closed:
        conn.execute(hold.update().where(hold.c.id.in_(closed)).values(state="gone", decided_at=now))


def decision_id(hold_id: str) -> str:
    """How the ids of the messages begin that tell an agent what was decided about this hold."""
    return f"decide:{hold_id}:"


def agent_hold_id(hold_id: str) -> str:
    """The agent's own id of a hold, from the server's."""
    return hold_id.partition(":")[2]


def _hold_id(agent_id: str, held_id: str) -> str:
    return f"{hashlib.sha256(agent_id.encode()).hexdigest()[:8]}:{held_id}"


def _had_no_effect(conn: sa.Connection, agent_id: str, hold_id: str, now: dt.datetime) -> bool:
    """Whether the agent still lists a hold although it dealt with the decision a while ago."""
    mail = sa.select(mailbox.c.done_at).where(
        mailbox.c.agent_id == agent_id, begins_with(mailbox.c.id, decision_id(hold_id))
    )
    since = now - EFFECT_WITHIN
    return all(row.done_at is not None and row.done_at < since for row in conn.execute(mail))


def _hold_row(agent: Agent, hold_id: str, held: HeldFile) -> dict[str, object]:
    # What was read from a damaged file may hold a NUL, which PostgreSQL takes in no text.
    told = {
        "place": f"{agent.location}/{held.feed}", "code": held.code, "message": held.message, "hint": held.hint,
    }
    return {
        "id": hold_id, "what": "file", "since": held.since, "affected": held.affected,
        "sample": json.dumps(held.sample), "state": "open", "agent_id": agent.id,
        **{name: text.replace("\0", "\u2400") for name, text in told.items()},
    }


def _usable(row: sa.RowMapping | None) -> Agent:
    if row is None:
        raise ProtocolError("key_unknown", "No agent is enrolled with this key.")
    if row["status"] == "revoked":
        raise ProtocolError("key_revoked", "The key of this agent was revoked.")
    if row["status"] == "frozen":
        raise ProtocolError("frozen", "This agent is frozen: two machines used its identity.")
    boots = [(one, dt.datetime.fromisoformat(at)) for one, at in json.loads(row["boots_seen"])]
    seen, last = tuple(boots[:-1]), boots[-1][1] if boots else None
    return Agent(
        id=row["id"], location=row["location_id"], key_id=row["key_id"], public_key=bytes.fromhex(row["public_key"]),
        status=row["status"], durable_seq=row["durable_seq"], boots=Boots(seen, row["boot_n"], last),
        known=Known(row["epoch"], row["seq"], row["head"], row["resync_asked"]),
    )
