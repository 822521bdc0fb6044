"""Enrollment: one-time codes and the identities they become; codes are burned in the database.

Each function runs in the caller's transaction. Wrong tries are counted by the caller against the address,
because a wrong secret names no invite to count them on.
"""

import datetime as dt
import hashlib
import json

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.enrollment import EnrollAnswer, EnrollmentCode, EnrollRequest, make_code
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.limits import CODE_LIFE_S
from tillbridge_server.store.tables import agent, audit, invite, location


def make_invite(
    conn: sa.Connection, *, location_id: str, random_bytes: bytes, root: bytes, by: str, now: dt.datetime,
) -> EnrollmentCode:
    """A code for one machine of this location, good for CODE_LIFE_S; only the hash of its secret is stored."""
    code = make_code(random_bytes, root)
    conn.execute(invite.insert().values(
        secret_hash=_hash(code.secret), location_id=location_id, created_at=now, created_by=by,
        expires_at=now + dt.timedelta(seconds=CODE_LIFE_S),
    ))
    _note(conn, by, "invite", location_id, now)
    return code


def ensure_location(
    conn: sa.Connection, *, location_id: str, name: str, phase: str, time_zone: str, by: str, now: dt.datetime,
) -> bool:
    """Make the location if it is new; True when it was made."""
    if conn.execute(sa.select(location.c.id).where(location.c.id == location_id)).first():
        return False
    conn.execute(location.insert().values(
        id=location_id, name=name or location_id, phase=phase, time_zone=time_zone, created_at=now
    ))
    _note(conn, by, "new location", f"{location_id}, phase {phase}", now)
    return True


def phase_of(conn: sa.Connection, location_id: str) -> str | None:
    """The phase of a location, or None when there is none of this id."""
    return conn.execute(sa.select(location.c.phase).where(location.c.id == location_id)).scalar()


def set_phase(conn: sa.Connection, *, location_id: str, phase: str, by: str, now: dt.datetime) -> None:
    """Switch a location to another phase."""
    conn.execute(location.update().where(location.c.id == location_id).values(phase=phase))
    _note(conn, by, "phase", f"{location_id}: {phase}", now)


def enroll(
    conn: sa.Connection, request: EnrollRequest, *, agent_id: str, server_name: str, now: dt.datetime,
) -> EnrollAnswer:
    """Turn a code into an identity; the same code with the same key answers the same again.

    `agent_id` is fresh and random. Raises ProtocolError `code_wrong`, `code_expired` or `code_used`.
    """
    row = conn.execute(sa.select(invite).where(invite.c.secret_hash == _hash(request.secret))).mappings().first()
    if row is None:
        raise ProtocolError("code_wrong", "This server has made no such code.")
    if row["used_key"] is not None and row["used_key"] != request.public_key:
        raise ProtocolError("code_used", f"The code for {row['location_id']} was used by another machine.")
    if now > row["expires_at"]:
        raise ProtocolError("code_expired", f"The code for {row['location_id']} has expired.")
    if row["used_key"] is not None:
        return _answer(row["agent_id"], row["location_id"], server_name)
    conn.execute(agent.insert().values(
        id=agent_id, location_id=row["location_id"], key_id=key_id_of(agent_id), public_key=request.public_key,
        status="active", host=msgspec.json.encode(request.host).decode(), epoch=None, seq=0, head="",
        durable_seq=0, boot_id=None, boot_n=0, boots_seen=json.dumps([]), resync_asked=False, enrolled_at=now,
    ))
    conn.execute(
        invite.update().where(invite.c.secret_hash == row["secret_hash"])
        .values(used_key=request.public_key, used_at=now, agent_id=agent_id)
    )
    _note(conn, "system", "enroll", f"{agent_id} for {row['location_id']} on {request.host.name}", now)
    return _answer(agent_id, row["location_id"], server_name)


def key_id_of(agent_id: str) -> str:
    """The key id of an agent's first key."""
    return f"a/{agent_id}/1"


def _answer(agent_id: str, location_id: str, server_name: str) -> EnrollAnswer:
    return EnrollAnswer(agent=agent_id, key_id=key_id_of(agent_id), location=location_id, server_name=server_name)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _note(conn: sa.Connection, by: str, act: str, what: str, now: dt.datetime) -> None:
    conn.execute(audit.insert().values(at=now, by=by, act=act, what=what, why=""))
