"""A server's inbox in this process for tests: a database in memory, and the batches of one agent."""

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from tests.integration.till import NOW, Till

from tillbridge_agent.store import outbox
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.positions import Ack, Boot, Position, Resync
from tillbridge_server.agents.inbox import Lane, receive_batch
from tillbridge_server.store.database import make_engine
from tillbridge_server.store.migrations import migrate
from tillbridge_server.store.tables import agent, fact, ledger, location


class Inbox:
    """What head office knows from one agent."""

    def __init__(self, engine: sa.Engine) -> None:
        """The agent is enrolled and has sent nothing."""
        self.engine, self.now = engine, NOW
        self.applied = 0
        self._requests = itertools.count(1)
        with engine.begin() as conn:
            conn.execute(location.insert().values(
                id="mallow", name="mallow", phase="everything", time_zone="UTC", created_at=NOW
            ))
            conn.execute(agent.insert().values(
                id="agent-1", location_id="mallow", key_id="a/agent-1/1", public_key="00" * 32, status="active",
                host="{}", seq=0, head="", durable_seq=0, boot_n=0, boots_seen="[]", resync_asked=False,
                enrolled_at=NOW,
            ))

    def receive(self, batch: FrozenBatch, position: Position) -> Ack | Resync:
        """Apply a batch as the server does."""
        lane = Lane(position, Boot("boot-1", next(self._requests)), self.now)
        with self.engine.begin() as conn:
            answer = receive_batch(conn, "agent-1", batch.body, lane, backs_up=False, now=self.now)
        self.applied += isinstance(answer, Ack) and not answer.repeated
        return answer

    async def take_next(self, till: Till) -> FrozenBatch | None:
        """One batch from freeze to ack; None when nothing waits."""
        batch = await till.next_batch()
        if batch is None:
            return None
        position = till.run(outbox.position)
        answer = self.receive(batch, position)
        assert isinstance(answer, Ack), answer
        assert answer.dead == []
        till.run(outbox.settle, answer)
        return batch

    async def take_all(self, till: Till) -> int:
        """Every batch that waits; returns how many."""
        count = 0
        while await self.take_next(till) is not None:
            count += 1
        return count

    def facts(self, kind: str, field: str) -> dict[str, Decimal]:
        """code → a number, of what is not gone."""
        query = sa.select(fact.c.code, fact.c.value).where(fact.c.kind == kind, ~fact.c.gone)
        return {row.code: Decimal(json.loads(row.value)[field]) for row in self._rows(query)}

    def stock(self) -> dict[str, Decimal]:
        """code → on hand."""
        return self.facts("stock_level", "on_hand")

    def ledger(self) -> dict[str, Decimal]:
        """Natural id → quantity of every event."""
        return {row.id: row.quantity for row in self._rows(sa.select(ledger.c.id, ledger.c.quantity))}

    def _rows(self, query: Any) -> Any:
        with self.engine.begin() as conn:
            return conn.execute(query).all()


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """An inbox with one enrolled agent."""
    engine = make_engine("sqlite://")
    migrate(engine)
    try:
        yield Inbox(engine)
    finally:
        engine.dispose()


def instant(minutes: float) -> dt.datetime:
    """So many minutes after NOW."""
    return NOW + dt.timedelta(minutes=minutes)
