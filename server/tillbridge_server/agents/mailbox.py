"""The mailbox of each agent: messages wait until the agent says it has dealt with them."""

import datetime as dt
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.limits import MAILBOX_MESSAGES_MAX
from tillbridge_protocol.mailbox import Body, Message
from tillbridge_server.store.tables import mailbox


def put(conn: sa.Connection, agent_id: str, message_id: str, body: Body, now: dt.datetime) -> None:
    """Leave a message; the same id again changes nothing."""
    exists = sa.select(mailbox.c.id).where(mailbox.c.agent_id == agent_id, mailbox.c.id == message_id)
    if conn.execute(exists).first() is None:
        conn.execute(mailbox.insert().values(
            agent_id=agent_id, id=message_id, created_at=now, body=msgspec.json.encode(body).decode()
        ))


def collect(conn: sa.Connection, agent_id: str, done: Sequence[str], now: dt.datetime) -> list[Message]:
    """Close what the agent has dealt with and return what waits, oldest first."""
    if done:
        conn.execute(
            mailbox.update().where(
                mailbox.c.agent_id == agent_id, mailbox.c.id.in_(list(done)[:MAILBOX_MESSAGES_MAX]),
                mailbox.c.done_at.is_(None),
            ).values(done_at=now)
        )
    waiting = (
        sa.select(mailbox.c.id, mailbox.c.body)
        .where(mailbox.c.agent_id == agent_id, mailbox.c.done_at.is_(None))
        .order_by(mailbox.c.created_at, mailbox.c.id).limit(MAILBOX_MESSAGES_MAX)
    )
    return [Message(id=row.id, body=msgspec.Raw(row.body.encode())) for row in conn.execute(waiting)]


def hand_out_again(conn: sa.Connection, agent_id: str, message_id: str) -> None:
    """The agent has lost what it had dealt with."""
    mine = (mailbox.c.agent_id == agent_id) & (mailbox.c.id == message_id)
    conn.execute(mailbox.update().where(mine, mailbox.c.done_at.is_not(None)).values(done_at=None))
