"""Web orders of the invented chain, one in each state a screen has words for, made with the server's own functions."""

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

from tillbridge_protocol.changes import Change, FeedInfo, Source
from tillbridge_protocol.records import AsOf, OrderState, SaleLine, StockLevel
from tillbridge_server.connectors.shop_window.book import Bought, buy, read_orders
from tillbridge_server.core.orders import order_id
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.store.event_writes import append
from tillbridge_server.store.fact_writes import Where
from tillbridge_server.store.order_intake import cursor, find_place, take_in
from tillbridge_server.store.order_proof import note_sales, release_counted
from tillbridge_server.store.order_steps import locked, tell
from tillbridge_server.store.orders import mark
from tillbridge_server.store.tables import location

if TYPE_CHECKING:
    from tests.browser.seed import Builder

MINUTE = dt.timedelta(minutes=1)
#: The places that take orders, by the short names used here.
PLACES = {"Arbon": "01", "Brig": "02", "Gossau": "07"}
#: The agent's steps on the way to a state.
_WAY = ("received", "ready", "published", "taken", "accepted")


class Orders:
    """Sells in the shop window and lets the orders go their ways."""

    def __init__(self, built: "Builder", shop: StorefrontConfig) -> None:
        self._built, self._shop = built, shop
        self._told = 0

    def switch(self, phase: str) -> None:
        """The phase of the three stores."""
        self._built.conn.execute(location.update().where(location.c.id.in_(PLACES.values())).values(phase=phase))

    def place(self, article: int, pieces: int, ago: dt.timedelta, store: str = "") -> str:
        """A shopper buys; the order is taken in, and sent to a store if one is named. Returns its id.

        No store takes orders while it is taken in, so that none but the named one gets it.
        """
        built, at = self._built, self._built.now - ago
        code = built.items[article].code
        bought = buy(built.conn, self._shop.id, f"pos:{code}", pieces, f"K{article:02d}", at)
        assert isinstance(bought, Bought), (article, bought)
        after = cursor(built.conn, self._shop.id)
        self.switch("stock_and_price")
        take_in(built.conn, built.config, self._shop, read_orders(built.conn, self._shop.id, after, 10), at)
        order = order_id(self._shop.id, bought.number)
        self.switch("orders")
        found = find_place(built.conn, built.config, order, at, wanted=PLACES.get(store))
        assert found is not None, order
        assert (found.location is not None) is bool(store), found
        return order

    def tell(self, order: str, state: str, ago: dt.timedelta, code: str = "", message: str = "") -> None:
        """The agent of the order's store tells a state."""
        row = locked(self._built.conn, order)
        assert row is not None
        self._told += 1
        at, far = self._built.now - ago, state not in ("received", "expired")
        told = OrderState(
            id=f"told-{self._told}", order=order, revision=row["revision"], state=state, at=at,
            sequence=40 + row["position"] if far else None, file=f"ORD{40 + row['position']:05d}.CSV" if far else None,
            code=code or None, message=message or None,
        )
        assert tell(self._built.conn, row, told, row["agent_id"], "e1", at), (order, state)

    def bring(self, order: str, state: str, ago: dt.timedelta) -> None:
        """Tell every state up to this one, a few seconds apart; the last one `ago`."""
        steps = _WAY[:_WAY.index(state) + 1]
        for n, one in enumerate(steps):
            self.tell(order, one, ago + dt.timedelta(seconds=8) * (len(steps) - 1 - n))

    def sell(self, order: str, article: int, pieces: int, store: str, ago: dt.timedelta) -> None:
        """The till sells it under its number."""
        built, at = self._built, self._built.now - ago
        line = SaleLine(id=f"{order}/1", code=built.items[article].code, quantity=Decimal(pieces), at=at,
                        currency="CHF", till="1", receipt="90417", order=order)
        change = Change(feed="sales", kind="sale_line", key=line.id, op="put", record=line,
                        source=Source(file="JOURNAL.TXT", sha256="ef" * 32, line=88, captured_at=at))
        where = Where(PLACES[store], f"agent-{PLACES[store]}", at)
        assert list(append(built.conn, where, [(0, change)])) == []
        note_sales(built.conn, PLACES[store], {"sales": FeedInfo(numbering="pos")}, [change], at)

    def count(self, article: int, pieces: int, store: str, ago: dt.timedelta) -> None:
        """A later count of the store has the sale."""
        at = self._built.now - ago
        counted = StockLevel(code=self._built.items[article].code, on_hand=Decimal(pieces),
                             as_of=AsOf(from_=at, to=at, kind="observed"))
        self._built.bring(PLACES[store], "stock", "STOCK_0902.CSV", [counted], ago)
        release_counted(self._built.conn, PLACES[store], lambda place, feed: False, at)

    def mark(self, order: str, event: str, why: str, ago: dt.timedelta) -> None:
        """A person says what is so."""
        mark(self._built.conn, order, event, "Mara Keller", why, self._built.now - ago)


def web_orders(built: "Builder", shop: StorefrontConfig) -> None:
    """One order in each state, the troubles of several kinds among them."""
    made = Orders(built, shop)
    for n in range(21):
        old = made.place(80 + n, 1, MINUTE * (210 - n), "Brig")
        made.bring(old, "accepted", MINUTE * (208 - n))
        made.sell(old, 80 + n, 1, "Brig", MINUTE * (150 - n))
        if n:  # the first one waits for a count still
            made.count(80 + n, 3, "Brig", MINUTE * (90 - n))
    made.bring(made.place(60, 1, MINUTE * 49, "Arbon"), "published", MINUTE * 48)
    rejected = made.place(61, 2, MINUTE * 33, "Brig")
    made.bring(rejected, "taken", MINUTE * 32)
    made.tell(rejected, "rejected", MINUTE * 31, "till", "0041420: article is blocked for sale")
    for article in (62, 63):
        doubtful = made.place(article, 1, MINUTE * (29 - article + 62), "Arbon")
        made.tell(doubtful, "received", MINUTE * 27)
        made.tell(doubtful, "uncertain", MINUTE * 26, "restored", "The agent's database was put back from a copy.")
    late = made.place(64, 1, MINUTE * 25, "Gossau")
    made.tell(late, "received", MINUTE * 24)
    made.tell(late, "expired", MINUTE * 22, "expired", "Older than it may be placed.")
    made.tell(made.place(65, 1, MINUTE * 18, "Gossau"), "received", MINUTE * 17)
    called_off = made.place(66, 1, MINUTE * 16, "Arbon")
    made.bring(called_off, "taken", MINUTE * 15)
    made.mark(called_off, "cancelled", "the shopper called", MINUTE * 13)
    made.place(67, 6, MINUTE * 9)
    made.bring(made.place(68, 1, MINUTE * 7, "Arbon"), "accepted", MINUTE * 6)
    made.bring(made.place(69, 2, MINUTE * 2, "Brig"), "published", MINUTE)
    made.place(70, 1, dt.timedelta(seconds=9), "Arbon")
