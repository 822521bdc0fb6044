"""The order side of a history: a storefront's book, head office's intake, the till's import folder and what it sells.

The book, the imports and the journal are the truth and are never restored. Intake, routing, standings, placing and
proof are the functions that the two `app.py` wire; the till imports a file when chance says so.
"""

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.fakes.order_book import OrderBook
from tests.simulation.wire import AGENT, Crash

from tillbridge_agent.identity import Identity
from tillbridge_agent.imports import OrdersConfig
from tillbridge_agent.orders import WebOrders
from tillbridge_agent.sync import MailLane
from tillbridge_protocol.mailbox import Body, MarkOrder, PlaceOrder
from tillbridge_protocol.orders import sign_order
from tillbridge_server.core.orders import StorefrontLine, StorefrontOrder, order_id
from tillbridge_server.core.settings import PlainRules, StorefrontConfig
from tillbridge_server.store import order_reading
from tillbridge_server.workers.intake import Intake

if TYPE_CHECKING:
    from tests.simulation.world import World

SHOP = StorefrontConfig("web", "Web", "shop_window", "CHF", activate="auto")
RULES = PlainRules(storefronts=(SHOP,))
KEY = Ed25519PrivateKey.from_private_bytes(b"order key of the simulated serve")
#: Orders that are late enough for a person to see them at once.
ALARMS = frozenset({"unrouted", "rejected", "uncertain", "expired"})


class OfficeStore:
    """Head office's database without its thread: each call is one transaction, at once."""

    shared = False

    def __init__(self, world: "World") -> None:
        self.world = world

    async def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """As Store.run."""
        with self.world.engine.begin() as conn:
            return call(conn, *args, **kwargs)


class OrderSide:
    """Everything about web orders in one world."""

    def __init__(self, world: "World", folder: Path) -> None:
        self.world, self.rng = world, world.rng
        self.book = OrderBook()
        self.imports: Counter[str] = Counter()
        self.folder, self.answers, self.office = folder / "import", folder / "answers", folder / "office"
        for made in (self.folder, self.answers, self.office):
            made.mkdir()
        self.config = msgspec.convert({
            "format": "csv", "path": str(self.folder), "spool": str(self.folder / ".tillbridge"),
            "separator": ";", "records": [
                {"each": "order", "columns": [{"const": "H"}, "order"]},
                {"each": "line", "columns": [{"const": "L"}, "order", "code", {"field": "quantity", "decimals": 0}]},
                {"each": "order", "columns": [{"const": "T"}, "order", "lines"]},
            ],
            "answers": {"path": str(self.answers), "pattern": "*.ANS", "separator": ";", "order": 1, "state": 2,
                        "accepted": ["OK"], "rejected": ["ERR"], "settle_s": 0.0},
        }, OrdersConfig)
        self.identity = Identity(
            agent=AGENT, key_id=f"a/{AGENT}/1", location="mallow", server="http://office", private_key="00" * 32,
            root="", server_keys={"s/1": KEY.public_key().public_bytes_raw().hex()}, tls_ca="",
        )
        self.intake: Intake | None = None
        self.desk: WebOrders | None = None

    # -- head office -----------------------------------------------------------------------------------------------

    async def intake_step(self) -> None:
        """One look of the intake; a crash of the server is its restart."""
        try:
            if self.intake is None:
                self.intake = self._start_intake()
                await self.intake.begin()
            await self.intake.step()
        except Crash:
            self.server_gone()

    def server_gone(self) -> None:
        """The next step is that of a new process."""
        self.intake = None

    def _start_intake(self) -> Intake:
        store: Any = OfficeStore(self.world)
        unused: Any = None
        return Intake(
            store, RULES, {SHOP.id: self.book}, lambda order: sign_order(order, KEY, "s/1"), self.world.now, unused,
            lambda: None, lambda agent: None, self.office,
        )

    # -- the agent ---------------------------------------------------------------------------------------------------

    def boot(self, store: Any) -> None:
        """A new agent process."""
        if self.desk is not None:
            self.desk.close()
        self.desk = desk = WebOrders(
            store, self.config, self.identity, self.world.now, lambda: None, lambda: self.world.lane.introduce()
        )
        wire: Any = self.world.wire
        self.lane = MailLane(store, wire, self._deal, desk)

    async def _deal(self, body: Body) -> bool:
        """As the agent's deeds hand orders on."""
        assert self.desk is not None
        if isinstance(body, PlaceOrder):
            return await self.desk.keep(body)
        if isinstance(body, MarkOrder):
            await self.desk.marked(body)
        return True

    async def agent_step(self) -> None:
        """One poll, then one look at the folders."""
        assert self.desk is not None
        await self.lane.step()
        await self.desk.step()

    # -- the storefront and the till -----------------------------------------------------------------------------------

    def buy(self) -> None:
        """A shopper orders something that is in stock."""
        codes = [code for code, count in self.world.pos.stock.items() if count >= 2]
        if not codes:
            return
        position = len(self.book.book) + 1
        line = StorefrontLine(1, f"pos:{self.rng.choice(codes)}", Decimal(self.rng.randint(1, 2)), Decimal(9))
        self.book.book.append(StorefrontOrder(position, f"{position}", self.world.now(), "CHF", (line,)))

    def till_imports(self) -> None:
        """The till takes every import file that lies there, perhaps answers, and sells what is in it."""
        for path in sorted(self.folder.glob("ORD*.CSV")):
            rows = [line.split(";") for line in path.read_bytes().decode("cp1252").split("\r\n") if line]
            assert [row[0] for row in rows] == ["H", *["L"] * (len(rows) - 2), "T"], f"{path.name} is no whole file"
            path.unlink()
            order = rows[0][1]
            self.imports[order] += 1
            self.world.tell(f"till imports {order} from {path.name}")
            assert self.imports[order] == 1, f"{order} was imported twice"
            if self.rng.random() < 0.5:
                (self.answers / f"{path.stem}.ANS").write_text(f"{order};OK;\r\n", encoding="cp1252")
            for _, _, code, pieces in rows[1:-1]:
                self.world.pos.sell_one(code, int(pieces), order)

    # -- the end -------------------------------------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Whether every order is counted, or waits for a person."""
        states = self.states()
        return len(states) == len(self.book.book) and all(
            state == "counted" or state in ALARMS for state in states.values()
        )

    def states(self) -> dict[str, str]:
        """Where each order stands at head office."""
        with self.world.engine.begin() as conn:
            listed = order_reading.list_orders(conn, everything=True, now=self.world.now())
        return {one["id"]: one["state"] for one in listed["orders"]}

    def judge(self, *, doubts_allowed: bool) -> None:
        """Each order once in the till; without restores none may be in doubt, with them a missing one is an alarm."""
        states = self.states()
        assert sorted(states) == sorted(order_id(SHOP.id, one.number) for one in self.book.book)
        for order, state in states.items():
            assert self.imports[order] <= 1
            if state == "unrouted":  # what was bought is sold out or delisted by now: nobody has it
                assert not self.imports[order]
            elif self.imports[order] == 0:
                assert doubts_allowed, f"{order} is {state} and was never imported"
                assert state in ALARMS, f"{order} was never imported, and {state} alarms nobody"
            elif not doubts_allowed:
                assert state == "counted", f"{order} is {state}"
