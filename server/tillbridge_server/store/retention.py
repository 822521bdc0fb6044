"""What the server forgets after a while: done mail and old tallies. Facts, ledger, holds and audit are kept."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from tillbridge_server.store.tables import breaker_tally, mailbox

MAIL_KEPT_DAYS = 30
#: A file whose batches are further apart than this is judged as if it were new.
TALLIES_KEPT_DAYS = 7


@dataclass(frozen=True)
class Swept:
    """How many rows were forgotten."""

    mail: int
    tallies: int


def sweep(conn: sa.Connection, now: dt.datetime) -> Swept:
    """Forget what is past its time; tallies of open holds stay."""
    mail = conn.execute(mailbox.delete().where(mailbox.c.done_at < now - dt.timedelta(days=MAIL_KEPT_DAYS)))
    tallies = conn.execute(breaker_tally.delete().where(
        breaker_tally.c.hold_id.is_(None), breaker_tally.c.since < now - dt.timedelta(days=TALLIES_KEPT_DAYS)
    ))
    return Swept(mail.rowcount, tallies.rowcount)
