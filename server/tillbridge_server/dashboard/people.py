"""People who may sign in and their sessions: store functions, conn first, times given."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from tillbridge_server.store.tables import audit, person, session

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
#: `seen_at` is written at most this often: a click must not cost a write each time.
TOUCH_EVERY = timedelta(minutes=1)
NAME_MAX = 80
PASSWORD_MIN = 12
PASSWORD_MAX = 1024


@dataclass(frozen=True)
class Session:
    """A signed-in person; `csrf` is the token every form of this session carries."""

    person: str
    csrf: str


def any_person(conn: sa.Connection) -> bool:
    """True once somebody has set a password: from then on everyone must sign in."""
    return conn.execute(sa.select(sa.literal(1)).select_from(person).limit(1)).first() is not None


def password_hash_of(conn: sa.Connection, name: str) -> tuple[str, str] | None:
    """The person's name as it was set and the argon2id hash, found whatever the case of the letters; or None."""
    # They are few, and databases disagree about the small letters of Élodie.
    everybody = conn.execute(sa.select(person.c.name, person.c.password_hash).order_by(person.c.name))
    wanted = name.strip().lower()
    return next(((row.name, row.password_hash) for row in everybody if row.name.lower() == wanted), None)


def add_first_person(conn: sa.Connection, name: str, hashed: str, now: datetime) -> bool:
    """Make the first person; False when there is one already, however close the race."""
    if any_person(conn):
        return False
    conn.execute(sa.insert(person).values(name=name, password_hash=hashed, created_at=now))
    note(conn, name, "password set", f"first person {name}", "", now)
    return True


def add_person(conn: sa.Connection, name: str, hashed: str, by: str, now: datetime) -> bool:
    """Make another person; False when the name is taken."""
    if password_hash_of(conn, name) is not None:
        return False
    conn.execute(sa.insert(person).values(name=name, password_hash=hashed, created_at=now))
    note(conn, by, "person added", name, "", now)
    return True


def set_password(conn: sa.Connection, name: str, hashed: str, by: str, now: datetime) -> None:
    """Replace a password and end every session of the person."""
    conn.execute(sa.update(person).where(person.c.name == name).values(password_hash=hashed))
    conn.execute(sa.delete(session).where(session.c.person == name))
    note(conn, by, "password set", name, "", now)


def rehash(conn: sa.Connection, name: str, hashed: str) -> None:
    """Store the same password under today's parameters; sessions stay."""
    conn.execute(sa.update(person).where(person.c.name == name).values(password_hash=hashed))


def begin_session(conn: sa.Connection, name: str, now: datetime) -> str:
    """Start a session and return its id, which is stored only as a hash. Old sessions are cleared away."""
    conn.execute(
        sa.delete(session).where(sa.or_(session.c.created_at < now - LONGEST, session.c.seen_at < now - IDLE))
    )
    secret = secrets.token_urlsafe(32)
    conn.execute(
        sa.insert(session).values(
            id_hash=_hash(secret), person=name, csrf=secrets.token_urlsafe(32), created_at=now, seen_at=now
        )
    )
    note(conn, name, "signed in", name, "", now)
    return secret


def find_session(conn: sa.Connection, secret: str, now: datetime, *, click: bool) -> Session | None:
    """The live session of this id; `click` (not a refresh by itself) keeps it alive. None: sign in again."""
    found = conn.execute(sa.select(session).where(session.c.id_hash == _hash(secret))).first()
    if found is None:
        return None
    if now - found.created_at > LONGEST or now - found.seen_at > IDLE:
        conn.execute(sa.delete(session).where(session.c.id_hash == found.id_hash))
        return None
    if click and now - found.seen_at > TOUCH_EVERY:
        conn.execute(sa.update(session).where(session.c.id_hash == found.id_hash).values(seen_at=now))
    return Session(found.person, found.csrf)


def end_session(conn: sa.Connection, secret: str, now: datetime) -> None:
    """Sign out: the id is worth nothing afterwards."""
    gone = conn.execute(
        sa.delete(session).where(session.c.id_hash == _hash(secret)).returning(session.c.person)
    ).first()
    if gone is not None:
        note(conn, gone.person, "signed out", gone.person, "", now)


def people(conn: sa.Connection) -> list[tuple[str, datetime]]:
    """Everyone who may sign in, with the day they were added, by name."""
    return [(row.name, row.created_at) for row in conn.execute(sa.select(person).order_by(person.c.name))]


def note(conn: sa.Connection, by: str, act: str, what: str, why: str, now: datetime) -> None:
    """One line in the audit log."""
    conn.execute(sa.insert(audit).values(at=now, by=by, act=act, what=what, why=why))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
