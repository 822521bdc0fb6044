"""Head office with two locations for tests of web orders: a database in memory, real batches, a clock to turn."""

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tillbridge_protocol.changes import Change, FeedInfo, Source, encode_change, freeze
from tillbridge_protocol.mailbox import MarkOrder, PlaceOrder, decode_body
from tillbridge_protocol.orders import ORDERS_FEED, Order, open_order, sign_order
from tillbridge_protocol.positions import Ack, Boot, Position
from tillbridge_protocol.records import AsOf, OrderState, Price, Record, SaleLine, StockLevel, key_of, kind_of
from tillbridge_server.agents.inbox import Lane, receive_batch
from tillbridge_server.core.orders import StorefrontLine, StorefrontOrder
from tillbridge_server.core.reservations import moves_itself
from tillbridge_server.core.settings import PlainRules, StorefrontConfig
from tillbridge_server.store import order_intake, order_reading, orders
from tillbridge_server.store.database import make_engine
from tillbridge_server.store.facts_reading import read_known
from tillbridge_server.store.migrations import migrate
from tillbridge_server.store.tables import agent, location, mailbox, reservation

NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
BEAT = ('{"version":"1","at":"2026-11-23T08:00:00Z","outbox_changes":0,"outbox_events":0,"oldest_unacked_at":null,'
        '"feeds":[],"holds":[],"quarantine":[],"disk_free_bytes":1,"counters":{},"orders":%s}')
LOCATIONS = ("mallow", "sorrel")
FEEDS = {
    "stock": FeedInfo(numbering="pos", config="1"), "sales": FeedInfo(numbering="pos", config="1"),
    ORDERS_FEED: FeedInfo(numbering="main"),
}


class Chain:
    """Two locations with one agent each ("mallow-1", "sorrel-1"), one storefront that sells both."""

    def __init__(self, engine: sa.Engine, *, moving: tuple[str, ...] = ()) -> None:
        self.engine, self.now = engine, NOW
        self.shop = StorefrontConfig("window", "Window", "shop_window", "CHF", activate="auto", moving_journals=moving)
        self.rules = PlainRules(storefronts=(self.shop,))
        self.key = Ed25519PrivateKey.generate()
        self._positions = dict.fromkeys(LOCATIONS, Position("epoch-1", 0, ""))
        self._boots = dict.fromkeys(LOCATIONS, 1)
        self._requests, self._ids = itertools.count(1), itertools.count(1)
        self._orders = itertools.count(1)
        with engine.begin() as conn:
            for place in LOCATIONS:
                conn.execute(location.insert().values(
                    id=place, name=place, phase="everything", time_zone="UTC", created_at=NOW
                ))
                conn.execute(agent.insert().values(
                    id=f"{place}-1", location_id=place, key_id=f"a/{place}-1/1", public_key="00" * 32,
                    status="active", host="{}", seq=0, head="", durable_seq=0, boot_n=0, boots_seen="[]",
                    resync_asked=False, enrolled_at=NOW, last_seen_at=NOW, heartbeat=BEAT % "{}",
                ))

    def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """A store function in its own transaction."""
        with self.engine.begin() as conn:
            return call(conn, *args, **kwargs)

    # -- what agents send ----------------------------------------------------------------------------------------

    def batch(self, place: str, changes: Sequence[Change], feeds: dict[str, FeedInfo] | None = None) -> Ack:
        """Apply a batch of a location's agent."""
        at = self._positions[place]
        named = {change.feed for change in changes} | set(feeds or ())
        frozen = freeze(
            agent=f"{place}-1", location=place, epoch=at.epoch, seq=at.seq + 1, prev=at.head,
            feeds={name: (feeds or {}).get(name, FEEDS[name]) for name in sorted(named)}, full=None,
            changes=[encode_change(change) for change in changes],
        )
        lane = Lane(at, Boot(f"boot-{place}-{self._boots[place]}", next(self._requests)), self.now)
        answer = self.run(
            receive_batch, f"{place}-1", frozen.body, lane, backs_up=False, now=self.now, moves=self.moves
        )
        assert isinstance(answer, Ack), answer
        assert answer.dead == []
        self._positions[place] = Position(answer.epoch, answer.seq, answer.head)
        return answer

    def moves(self, place: str, feed: str) -> bool:
        """As the server asks it."""
        return moves_itself(place, feed, (self.shop,))

    def new_epoch(self, place: str) -> None:
        """The agent starts over."""
        self._positions[place] = Position(f"epoch-{next(self._ids) + 1}", 0, "")

    def position(self, place: str) -> Position:
        """Where its outbox stands."""
        return self._positions[place]

    def counts(self, place: str, began: dt.datetime, **on_hand: int) -> None:
        """An export that was written some time after `began` arrives now."""
        as_of = AsOf(began, self.now, "observed")
        info = FeedInfo(numbering="pos", config="1", as_of=as_of)
        self.batch(place, [
            self._change("stock", record) for code, pieces in on_hand.items()
            for record in (StockLevel(code, Decimal(pieces)), Price(code, Decimal(10), "CHF"))
        ], {"stock": info})

    def sells(self, place: str, order: str | None, code: str, pieces: int = 1, *, sale_id: str = "") -> None:
        """The till has sold, and its journal arrives now."""
        line = SaleLine(
            id=sale_id or f"R{next(self._ids)}", code=code, quantity=Decimal(pieces), at=self.now, order=order
        )
        self.batch(place, [self._change("sales", line)])

    def tells(self, place: str, order: str, *states: str, revision: int = 1, **more: Any) -> None:
        """The agent tells states of an order."""
        self.batch(place, [self._change(ORDERS_FEED, OrderState(
            id=f"o{next(self._ids)}", order=order, revision=revision, state=state, at=self.now, **more
        )) for state in states])

    def _change(self, feed: str, record: Record) -> Change:
        source = Source(file=f"{feed}.csv", captured_at=self.now)
        return Change(feed=feed, kind=kind_of(record), key=key_of(record), op="put", record=record, source=source)

    # -- orders --------------------------------------------------------------------------------------------------

    def sold_order(self, *, position: int = 0, **pieces: int) -> StorefrontOrder:
        """An order as the storefront tells it."""
        number = position or next(self._orders)
        return StorefrontOrder(number, f"{1000 + number}-ABC", self.now, "CHF", tuple(
            StorefrontLine(line, f"pos:{code}", Decimal(wanted), Decimal("9.90"), code)
            for line, (code, wanted) in enumerate(pieces.items(), start=1)
        ))

    def buys(self, **pieces: int) -> str:
        """A shopper buys; returns our number."""
        found = self.take_in(self.sold_order(**pieces))
        assert len(found) == 1
        return found[0]

    def take_in(self, *sold: StorefrontOrder) -> list[str]:
        """The intake finds these orders."""
        found: list[str] = self.run(order_intake.take_in, self.rules, self.shop, sold, self.now)
        return found

    def sends(self) -> list[str]:
        """Routed orders go into the mailboxes."""
        mailed: list[str] = self.run(
            order_intake.send_routed, lambda order: sign_order(order, self.key, "s/1"), self.now
        )
        return mailed

    def mail(self, place: str) -> list[Order | MarkOrder]:
        """What waits for a location's agent."""
        query = sa.select(mailbox.c.body).where(mailbox.c.agent_id == f"{place}-1", mailbox.c.done_at.is_(None))
        query = query.order_by(mailbox.c.created_at, mailbox.c.id)
        bodies = [decode_body(row.body.encode()) for row in self.run(lambda conn: conn.execute(query).all())]
        keys = {"s/1": self.key.public_key()}
        return [
            open_order(body.order, keys) if isinstance(body, PlaceOrder) else body
            for body in bodies if isinstance(body, PlaceOrder | MarkOrder)
        ]

    def state(self, order: str) -> str:
        """Where it stands."""
        return str(self.shown(order)["state"])

    def shown(self, order: str) -> dict[str, Any]:
        """The document of `orders show`."""
        document: dict[str, Any] = self.run(order_reading.show_order, order, self.now)["order"]
        return document

    def listed(self) -> list[dict[str, Any]]:
        """The document of `orders list`."""
        document: dict[str, Any] = self.run(order_reading.list_orders, everything=False, now=self.now)
        return list(document["orders"])

    def mark(self, order: str, event: str) -> str:
        """A person says so."""
        return str(self.run(orders.mark, order, event, "dana", "looked", self.now))

    def reserved(self, code: str) -> dict[str, Decimal]:
        """By location, what is promised of an item."""
        known = self.run(read_known, [f"pos:{code}"])[f"pos:{code}"]
        found: dict[str, Decimal] = {}
        for one in known.reservations:
            found[one.location] = found.get(one.location, Decimal(0)) + one.quantity
        return found

    def reservations(self) -> Sequence[Any]:
        """Every row."""
        rows: Sequence[Any] = self.run(lambda conn: conn.execute(sa.select(reservation)).all())
        return rows


@contextmanager
def open_chain(*, moving: tuple[str, ...] = ()) -> Iterator[Chain]:
    """A chain in memory."""
    engine = make_engine("sqlite://")
    migrate(engine)
    try:
        yield Chain(engine, moving=moving)
    finally:
        engine.dispose()
