"""What the server forgets after a while: done mail, old tallies, old batches. Facts, ledger, holds, audit are kept."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from tillbridge_server.store.tables import agent, batch_log, breaker_tally, mailbox

MAIL_KEPT_DAYS = 30
#: A file whose batches are further apart than this is judged as if it were new.
TALLIES_KEPT_DAYS = 7
#: An agent restored from an older backup than this is told by its position; the last batch of each is kept for ever.
BATCHES_KEPT_DAYS = 90


@dataclass(frozen=True)
class Swept:
    """How many rows were forgotten."""

    mail: int
    tallies: int
    batches: int


def sweep(conn: sa.Connection, now: dt.datetime) -> Swept:
    """Forget what is past its time; tallies of open holds stay."""
    mail = conn.execute(mailbox.delete().where(mailbox.c.done_at < now - dt.timedelta(days=MAIL_KEPT_DAYS)))
    tallies = conn.execute(breaker_tally.delete().where(
        breaker_tally.c.hold_id.is_(None), breaker_tally.c.since < now - dt.timedelta(days=TALLIES_KEPT_DAYS)
    ))
    last = sa.exists().where(
        agent.c.id == batch_log.c.agent_id, agent.c.epoch == batch_log.c.epoch, agent.c.seq == batch_log.c.seq
    )
    batches = conn.execute(batch_log.delete().where(
        batch_log.c.applied_at < now - dt.timedelta(days=BATCHES_KEPT_DAYS), ~last
    ))
    return Swept(mail.rowcount, tallies.rowcount, batches.rowcount)
