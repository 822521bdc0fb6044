"""A till for tests of the inbox: freezes batches, keeps its chain, counts its requests; and what the database says."""

import datetime as dt
import json
from decimal import Decimal

import sqlalchemy as sa

from tillbridge_protocol.changes import Change, FeedInfo, FrozenBatch, FullPart, Source, encode_change, freeze
from tillbridge_protocol.positions import Ack, Boot, Position, Resync
from tillbridge_protocol.records import AsOf, SaleLine, StockLevel
from tillbridge_server.agents import inbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.store.tables import agent, fact

NOW = dt.datetime(2026, 3, 14, 9, 0, tzinfo=dt.UTC)
FEEDS = {"stock": FeedInfo("pos"), "sales": FeedInfo("pos")}


class Till:
    """An agent as the inbox sees it: freezes batches, keeps its chain, counts its requests."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.position = Position("e1", 0, "")
        self.boot, self.requests = "b1", 0
        self.at = NOW

    def batch(self, *changes: Change | bytes, full: FullPart | None = None, **info: object) -> FrozenBatch:
        """The next batch of the chain."""
        raw = [one if isinstance(one, bytes) else encode_change(one) for one in changes]
        feeds = {name: FeedInfo("pos", **info) for name in FEEDS}  # type: ignore[arg-type]
        at = self.position
        return freeze(agent="a1", location="mallow", epoch=at.epoch, seq=at.seq + 1, prev=at.head,
                      feeds=feeds, full=full, changes=raw)

    def deliver(self, batch: FrozenBatch, *, backs_up: bool = False) -> Ack | Resync:
        """One request; the position moves with the ack."""
        self.requests += 1
        lane = Lane(self.position, Boot(self.boot, self.requests), self.at)
        with self.engine.begin() as conn:
            answer = inbox.receive_batch(conn, "a1", batch.body, lane, backs_up=backs_up, now=self.at)
        if isinstance(answer, Ack):
            self.position = Position(answer.epoch, answer.seq, answer.head)
        return answer

    def send(self, *changes: Change | bytes, **more: object) -> Ack | Resync:
        """Freeze and deliver."""
        return self.deliver(self.batch(*changes, **more))  # type: ignore[arg-type]


def made_till(engine: sa.Engine) -> Till:
    """An enrolled agent in an empty database."""
    with engine.begin() as conn:
        conn.execute(agent.insert().values(
            id="a1", location_id="mallow", key_id="a/a1/1", public_key="00" * 32, status="active", host="{}", seq=0,
            head="", durable_seq=0, boot_n=0, boots_seen="[]", resync_asked=False, enrolled_at=NOW,
        ))
    return Till(engine)


def stock(code: str, count: int, feed_name: str = "stock") -> Change:
    """A count."""
    as_of = AsOf(NOW, NOW, "observed")
    record = StockLevel(code, Decimal(count), as_of)
    return Change(feed_name, "stock_level", code, "put", record, Source("S.CSV", "ab", 2))


def gone(code: str) -> Change:
    """An item that is not listed any more."""
    return Change("stock", "stock_level", code, "gone")


def sale(number: str, quantity: int = 1) -> Change:
    """A sale line."""
    return Change("sales", "sale_line", number, "put", SaleLine(number, "001", Decimal(quantity), NOW))


def facts(till: Till) -> dict[str, str | None]:
    """Code to count; None for gone."""
    with till.engine.begin() as conn:
        return {
            row.code: None if row.gone else json.loads(row.value)["on_hand"]
            for row in conn.execute(sa.select(fact.c.code, fact.c.gone, fact.c.value))
        }


def count(till: Till, table: sa.Table) -> int:
    """Rows of a table."""
    with till.engine.begin() as conn:
        return conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
