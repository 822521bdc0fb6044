"""Seeded histories of one item: shoppers buy, a till sells orders and gets deliveries, all news of it comes late.

Only web orders take pieces here, so at every moment the window may show at most what lies there minus what was
ordered and is not sold yet. Every step is a transaction of the real store; the seed decides their order.
"""

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import pytest
from tests.integration.orders import SECOND, Chain, open_chain

from tillbridge_protocol.changes import Change, FeedInfo, Source
from tillbridge_protocol.records import AsOf, Price, SaleLine, StockLevel
from tillbridge_server.connectors.shop_window.book import Bought, buy, read_orders, still_available
from tillbridge_server.connectors.shop_window.connector import read_window, show
from tillbridge_server.connectors.shop_window.wire import text_of
from tillbridge_server.store import activation, deciding, order_intake, publishing

SHOP, VARIANT, CODE, PLACE = "window", "pos:cup", "cup", "sorrel"
SEEDS, STEPS = 16, 120


@dataclass
class Store:
    """The store and everything on its way from it; `truth` is what lies there."""

    chain: Chain
    rng: Random
    truth: int = 6
    bought: dict[str, int] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    journal: list[Change] = field(default_factory=list)
    export: tuple[int, AsOf] | None = None
    last_look: dt.datetime | None = None
    taken: list[publishing.Task] = field(default_factory=list)

    def buys(self) -> None:
        """A shopper presses the button."""
        done = self.chain.run(buy, SHOP, VARIANT, self.rng.randint(1, 2), "ABC", self.chain.now)
        if isinstance(done, Bought):
            pieces = int(sum(line.quantity for line in self.chain.run(read_orders, SHOP, 0, 10_000)[-1].lines))
            self.bought[f"WINDOW-{done.number}"] = pieces

    def intake(self) -> None:
        """The sweep; what is routed comes to the till."""
        after = self.chain.run(order_intake.cursor, SHOP)
        self.chain.take_in(*self.chain.run(read_orders, SHOP, after, self.rng.randint(1, 3)))
        self.chain.run(order_intake.route_waiting, self.chain.rules, self.chain.now)
        self.chain.sends()
        at_the_till = {one["id"] for one in self.chain.listed() if one["state"] == "routed"}
        self.waiting = sorted(at_the_till & set(self.bought))

    def till_sells(self) -> None:
        """One order goes over the counter, which writes the journal."""
        if self.waiting:
            order = self.waiting.pop(self.rng.randrange(len(self.waiting)))
            pieces = self.bought.pop(order)
            self.truth -= pieces
            line = SaleLine(id=f"R-{order}", code=CODE, quantity=Decimal(pieces), at=self.chain.now, order=order)
            self.journal.append(self.change("sales", line.id, line))

    def delivery(self) -> None:
        """Goods arrive."""
        self.truth += self.rng.randint(1, 3)

    def export_written(self) -> None:
        """The till counts; the agent sees it later, and knows only when it looked before."""
        begin = self.last_look or self.chain.now
        counted = self.truth
        self.chain.now += SECOND
        self.export = (counted, AsOf(begin, self.chain.now, "observed"))
        self.last_look = self.chain.now

    def agent_sends(self) -> None:
        """State first, then events; perhaps the events wait for the next batch."""
        changes: list[Change] = []
        feeds: dict[str, FeedInfo] = {}
        if self.export is not None:
            counted, as_of = self.export
            self.export = None
            changes = [self.change("stock", CODE, StockLevel(CODE, Decimal(counted), as_of)),
                       self.change("stock", CODE, Price(CODE, Decimal(10), "CHF"))]
            feeds["stock"] = FeedInfo(numbering="pos", config="1", as_of=as_of)
        if not changes or self.rng.random() < 0.5:
            changes += self.journal
            self.journal = []
        if changes:
            self.chain.batch(PLACE, changes, feeds)

    def decides(self) -> None:
        """The decider's transaction."""
        self.chain.run(deciding.decide, self.chain.rules, self.chain.now)

    def publishes(self) -> None:
        """The publisher takes values now, and shows some that it took a while ago."""
        if not self.taken:
            self.taken = self.chain.run(publishing.take_due, SHOP, self.chain.now)
            return
        items = [publishing.item_of(task) for task in self.taken]
        self.chain.run(show, SHOP, {item.variant: text_of(item) for item in items}, self.chain.now)
        self.chain.run(
            publishing.record_outcome, self.taken, accepted=[item.variant for item in items], rejected={},
            retry_at=self.chain.now, error="", now=self.chain.now,
        )
        self.taken = []

    def change(self, feed: str, key: str, record: StockLevel | Price | SaleLine) -> Change:
        """As captured now."""
        kind = str(type(record).__struct_config__.tag)
        return Change(feed=feed, kind=kind, key=key, op="put", record=record,
                      source=Source(file=feed, captured_at=self.chain.now))

    def shown(self) -> int:
        """What a shopper sees."""
        here = list(self.chain.run(read_window, SHOP).values())
        return int(self.chain.run(still_available, SHOP, here)[0].available) if here else 0

    def free(self) -> int:
        """What may be sold: what lies there, less what is ordered and not sold yet."""
        return self.truth - sum(self.bought.values())


def history(store: Store) -> None:
    """STEPS steps; the window is looked at after each."""
    store.export_written()
    store.agent_sends()
    store.chain.run(activation.activate, SHOP, [VARIANT], by="test", why="", now=store.chain.now)
    deeds = [*[store.buys] * 3, *[store.intake] * 2, *[store.till_sells] * 3, store.delivery, store.export_written,
             *[store.agent_sends] * 3, *[store.decides] * 3, *[store.publishes] * 5]
    told = []
    for _ in range(STEPS):
        store.chain.now += dt.timedelta(milliseconds=store.rng.randint(1, 900))
        deed = store.rng.choice(deeds)
        deed()
        shown = store.shown()
        told.append(f"{deed.__name__}: truth {store.truth}, ordered {dict(store.bought)}, shown {shown}")
        assert shown <= max(0, store.free()), "\n".join(told)


def rest(store: Store) -> None:
    """All is sold, counted and sent, twice over, so that a count began after the last sale was read."""
    while store.bought:
        store.intake()
        store.delivery()
        store.export_written()
        store.agent_sends()
        store.till_sells()
    for _ in range(3):
        store.chain.now += SECOND
        store.intake()
        store.agent_sends()
        store.agent_sends()
        store.chain.now += SECOND
        store.export_written()
    store.agent_sends()
    for _ in range(3):
        store.decides()
        store.publishes()
        store.publishes()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_never_oversold(seed: int) -> None:
    """Not for a moment above; and when all has come to rest exactly what lies there, with nothing reserved."""
    with open_chain() as chain:
        store = Store(chain, Random(seed))
        history(store)
        rest(store)
        assert store.shown() == store.truth
        assert {row.state for row in chain.reservations()} <= {"released"}


@pytest.mark.parametrize("broken", ["released when accepted", "nothing reserved", "through is forgotten"])
def test_the_histories_can_fail(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that releases too early, reserves nothing, or forgets which orders a number accounts for, is caught."""
    if broken == "released when accepted":
        monkeypatch.setattr("tillbridge_server.core.reservations._included", lambda sale, counts: True)
    elif broken == "nothing reserved":
        monkeypatch.setattr("tillbridge_server.store.facts_reading._reservations", lambda conn, variants, at: {})
    else:
        monkeypatch.setattr("tillbridge_server.connectors.shop_window.book._bought_since", lambda *given: {})
    caught = 0
    for seed in range(SEEDS):
        with open_chain() as chain:
            try:
                history(Store(chain, Random(seed)))
            except AssertionError:
                caught += 1
                break
    assert caught
