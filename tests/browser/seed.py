"""An invented chain with everything a screen may have to show, built with the server's own store functions.

`python -m tests.browser.seed 8099` serves it for looking at by hand; nothing of it is part of the product.
"""

import datetime as dt
import random
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import sqlalchemy as sa
from aiohttp import web
from tests.browser.seed_orders import PLACES, web_orders

from tillbridge_protocol.changes import Change, FeedInfo, Source
from tillbridge_protocol.heartbeat import FeedHealth, Heartbeat, HeldFile, OrdersHealth, Quarantined
from tillbridge_protocol.records import AsOf, Price, Product, Record, SaleLine, StockLevel, key_of, kind_of
from tillbridge_server.config import ServerConfig
from tillbridge_server.connectors.shop_window.connector import show
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.routes import setup_dashboard
from tillbridge_server.store import tables
from tillbridge_server.store.activation import activate
from tillbridge_server.store.database import Store, make_engine
from tillbridge_server.store.deciding import decide
from tillbridge_server.store.event_writes import append
from tillbridge_server.store.fact_writes import Where, apply_changes
from tillbridge_server.store.publishing import record_outcome, take_due

NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
SHOP = StorefrontConfig(id="window", title="Shop window", connector="shop_window", currency="CHF",
                        time_zone="Europe/Zurich", buffer=Decimal(2))
CONFIG = ServerConfig(name="Harrow & Lindt", time_zone="Europe/Zurich", storefronts=(SHOP,), demo=True)
STORES = ("Arbon", "Brig", "Chur", "Davos", "Emmen", "Frick", "Gossau", "Horw", "Ilanz", "Kloten", "Lugano")
OFFICE = "office"
_NOUNS = ("Wood screws", "Masonry paint", "Garden hose", "Oat drink", "Coffee beans", "LED bulb", "Wall plugs",
          "Potting soil", "Olive oil", "Honey", "Tape measure", "Paint roller")
_SORTS = ("small", "large", "oak", "white", "grey", "organic", "outdoor", "pack of 3", "pack of 12", "refill")


Chain = Callable[[sa.Connection, dt.datetime], None]
#: Chains that were built, as the bytes of their database.
_BUILT: dict[Chain, bytes] = {}


@dataclass(frozen=True)
class Item:
    """One invented article."""

    code: str
    title: str
    price: Decimal
    sale: Decimal | None


def articles(n: int = 240) -> list[Item]:
    """The same articles every time; the first has a title that is markup."""
    rng = random.Random(7)
    items = []
    for i in range(n):
        price = Decimal(rng.randrange(150, 9900, 5)) / 100
        title = f"{_NOUNS[i % len(_NOUNS)]}, {_SORTS[i // len(_NOUNS) % len(_SORTS)]} {i // 120 + 1}"
        sale = (price * Decimal("0.8")).quantize(Decimal("0.05")) if i % 11 == 3 else None
        items.append(Item(f"{41000 + i * 7:07d}", title, price, sale))
    return [Item("0040999", '<script>alert("x")</script> & Sons, brass', Decimal("12.90"), None), *items]


def location_id(name: str) -> str:
    """The id of an invented store."""
    return f"{STORES.index(name) + 1:02d}" if name in STORES else name


class Builder:
    """Writes the chain over one connection, moment by moment."""

    def __init__(self, conn: sa.Connection, now: dt.datetime, config: ServerConfig = CONFIG) -> None:
        self.conn, self.now, self.config = conn, now, config
        self.items = articles()

    def place(self, id_: str, name: str, phase: str = "stock_and_price") -> None:
        """A location."""
        self.conn.execute(tables.location.insert().values(
            id=id_, name=name, phase=phase, time_zone="Europe/Zurich", created_at=self.now - dt.timedelta(days=90)
        ))

    def agent(self, place: str, seen: dt.timedelta, beat: Heartbeat | None) -> None:
        """The agent of a location, last heard `seen` ago."""
        self.conn.execute(tables.agent.insert().values(
            id=f"agent-{place}", location_id=place, key_id=f"key-{place}", public_key="00" * 32, status="active",
            host=msgspec.json.encode({"name": f"TILL-{place}", "system": "Windows 11"}).decode(), epoch="e1", seq=812,
            head="", durable_seq=800, boot_n=1, boots_seen="[]", resync_asked=False,
            enrolled_at=self.now - dt.timedelta(days=80), last_seen_at=self.now - seen,
            heartbeat=msgspec.json.encode(beat).decode() if beat else None,
        ))

    def feed(self, place: str, name: str, ago: dt.timedelta, numbering: str = "pos") -> None:
        """What an agent said of one feed."""
        at = self.now - ago
        self.conn.execute(tables.feed.insert().values(
            location_id=place, name=name, agent_id=f"agent-{place}", numbering=numbering, absence="zero", config="c1",
            as_of_from=at, as_of_to=at, as_of_kind="observed",
        ))

    def bring(self, place: str, feed: str, file: str, records: list[Record], ago: dt.timedelta) -> None:
        """Facts of one export, true and applied `ago`."""
        at = self.now - ago
        changes = [
            Change(feed=feed, kind=kind_of(record), key=key_of(record), op="put", record=record, source=Source(
                file=file, sha256="ab" * 32, line=line, text=f"{key_of(record)};{file}", captured_at=at,
            ))
            for line, record in enumerate(records, start=2)
        ]
        apply_changes(self.conn, Where(place, f"agent-{place}", at), {feed: FeedInfo(numbering="pos")}, changes)

    def sell(self, place: str, ago: dt.timedelta, items: list[Item]) -> None:
        """Sale lines of one receipt."""
        at = self.now - ago
        lines = [
            SaleLine(id=f"88213/{n}/{at:%H%M}", code=item.code, quantity=Decimal(1), at=at, unit_price=item.price,
                     currency="CHF", till="2", receipt="88213")
            for n, item in enumerate(items)
        ]
        events = [
            (n, Change(feed="sales", kind="sale_line", key=line.id, op="put", record=line,
                       source=Source(file="JOURNAL.TXT", sha256="cd" * 32, line=n + 9)))
            for n, line in enumerate(lines)
        ]
        assert list(append(self.conn, Where(place, f"agent-{place}", at), events)) == []

    def publish(self, ago: dt.timedelta) -> None:
        """Decide everything that is dirty and show what comes out, `ago`."""
        at = self.now - ago
        while decide(self.conn, self.config, at).more:
            pass
        while tasks := take_due(self.conn, SHOP.id, at):
            show(self.conn, SHOP.id, {task.variant: task.value for task in tasks}, at)
            accepted = [task.variant for task in tasks]
            record_outcome(self.conn, tasks, accepted=accepted, rejected={}, retry_at=at, error="", now=at)


def stock(item: Item, pieces: int, at: dt.datetime) -> StockLevel:
    """A count as the agent saw it."""
    return StockLevel(code=item.code, on_hand=Decimal(pieces), as_of=AsOf(from_=at, to=at, kind="observed"))


def heartbeat(now: dt.datetime, feeds: list[FeedHealth], **rest: object) -> Heartbeat:
    """A heartbeat with nothing to complain about unless said."""
    values: dict[str, object] = {
        "version": "0.1.0", "at": now, "outbox_changes": 0, "outbox_events": 0, "oldest_unacked_at": None,
        "feeds": feeds, "holds": [], "quarantine": [], "disk_free_bytes": 61_400_000_000, "counters": {}, **rest,
    }
    return Heartbeat(**values)  # type: ignore[arg-type]


def calm_chain(conn: sa.Connection, now: dt.datetime) -> None:
    """Three stores, all fresh, nothing held."""
    built = Builder(conn, now)
    _office(built)
    for name in STORES[:2]:
        _store(built, name, dt.timedelta(minutes=3 + STORES.index(name)))
    activate(conn, SHOP.id, [f"pos:{item.code}" for item in built.items], by="Mara Keller", why="opening", now=now)
    built.publish(dt.timedelta(seconds=21))


def busy_chain(conn: sa.Connection, now: dt.datetime) -> None:
    """Twelve places with every trouble there is."""
    built = Builder(conn, now)
    minute = dt.timedelta(minutes=1)
    _office(built)
    for n, name in enumerate(STORES):
        if name not in ("Kloten", "Lugano"):
            _store(built, name, minute * (3 + 2 * n))
    built.place(location_id("Kloten"), "Kloten", "observe")
    _feeds(built, "Kloten", minute * 4)
    built.place(location_id("Lugano"), "Lugano", "observe")
    shown = [f"pos:{item.code}" for item in built.items[:-18]]
    activate(conn, SHOP.id, shown, by="Mara Keller", why="spring range", now=now - minute * 300)
    built.publish(minute * 240)
    web_orders(built, SHOP)
    built.publish(minute * 65)
    _trip(built, minute)
    _file_hold(built, minute)
    built.sell(location_id("Brig"), minute * 12, built.items[:4])
    for name, pieces, ago in (("Brig", 3, 24), ("Chur", 9, 12), ("Frick", -2, 4)):
        counted = stock(built.items[5 + ago], pieces, now - minute * ago)
        built.bring(location_id(name), "stock", "STOCK_1026.CSV", [counted], minute * ago)
        built.publish(minute * ago - dt.timedelta(seconds=1))
    _refused(built, minute)
    conn.execute(tables.backup.insert().values(at=now - minute * 12, file="b1", bytes=1, sha256="x"))


def _office(built: Builder) -> None:
    hours = dt.timedelta(hours=4)
    built.place(OFFICE, "Head office", "stock_and_price")
    built.feed(OFFICE, "articles", hours)
    built.agent(OFFICE, dt.timedelta(seconds=4), heartbeat(built.now, [
        FeedHealth("articles", "idle", built.now - hours, "ARTICLES_0314.CSV", 241),
    ]))
    products: list[Record] = [Product(code=item.code, title=item.title, brand="Harrow") for item in built.items]
    prices: list[Record] = [
        Price(code=item.code, list_price=item.price, currency="CHF", sale_price=item.sale,
              sale_to="2026-03-30" if item.sale else None)
        for item in built.items if item.code != built.items[-2].code
    ]
    built.bring(OFFICE, "articles", "ARTICLES_0314.CSV", [*products, *prices], hours)


def _store(built: Builder, name: str, ago: dt.timedelta) -> None:
    """A store with stock in every article it carries; the later ones are only in Chur."""
    built.place(location_id(name), name)
    _feeds(built, name, ago)


def _feeds(built: Builder, name: str, ago: dt.timedelta) -> None:
    place, rng = location_id(name), random.Random(name)
    late = dt.timedelta(hours=3) if name == "Frick" else ago
    silent = dt.timedelta(days=3, hours=4) if name == "Horw" else dt.timedelta(seconds=4 + STORES.index(name))
    late = late if name != "Horw" else silent
    built.feed(place, "stock", late)
    built.feed(place, "sales", silent if name == "Horw" else dt.timedelta(minutes=1))
    n = STORES.index(name) + 1
    quarantined = [
        Quarantined(f"q{i}", "stock", "STOCK_1024.CSV", built.now - ago, "number_ambiguous",
                    f"“12,5,{i}” has two decimal marks. It could be 12,5 or 1,250.", 40 + i)
        for i in range(17)
    ] if name == "Emmen" else []
    held = HeldFile("h1", "stock", "STOCK_1025.CSV", built.now - ago, "rows_lost", "x", "y")
    holds = [held] if name == "Davos" else []
    built.agent(place, silent, heartbeat(
        built.now - silent, [
            FeedHealth("stock", "held" if holds else "idle", built.now - late, f"STOCK_{n:02d}.CSV", 4790,
                       holds=len(holds), quarantined=len(quarantined)),
            FeedHealth("sales", "idle", built.now - max(silent, dt.timedelta(minutes=1)), "JOURNAL.TXT", 88),
        ],
        outbox_changes=1284 if name == "Gossau" else 0, quarantine=quarantined, holds=holds,
        orders=_orders_health(name),
    ))
    at = built.now - dt.timedelta(hours=5)
    carried = built.items if name == "Chur" else built.items[:200]
    counts: list[Record] = [
        stock(item, rng.choice((0, 1, 2, 4, 7, 11, 24)) + (6 if name == "Chur" else 0), at) for item in carried
        if rng.random() < 0.8 or name == "Chur"
    ]
    built.bring(place, "stock", f"STOCK_{n:02d}.CSV", counts, dt.timedelta(hours=5))
    built.sell(place, dt.timedelta(minutes=50), built.items[n:n + 3])


def _orders_health(name: str) -> OrdersHealth | None:
    hindered = "The till’s import folder D:\\POS\\IMPORT cannot be reached: no such folder."
    return None if name not in PLACES else OrdersHealth(problem=hindered if name == "Gossau" else "")


def _trip(built: Builder, minute: dt.timedelta) -> None:
    """Chur lists everything at 0, and head office writes prices in hundredths."""
    at = built.now - minute * 31
    zeros: list[Record] = [stock(item, 0, at) for item in built.items[195:]]
    built.bring(location_id("Chur"), "stock", "STOCK_CHUR_0855.CSV", zeros, minute * 31)
    built.publish(minute * 31 - dt.timedelta(seconds=1))
    prices: list[Record] = [
        Price(code=item.code, list_price=(item.price / 100).quantize(Decimal("0.01")) + Decimal("0.01"), currency="CHF")
        for item in built.items[20:56]
    ]
    built.bring(OFFICE, "articles", "ARTICLES_1014.CSV", prices, minute * 64)
    built.publish(minute * 64 - dt.timedelta(seconds=1))


def _file_hold(built: Builder, minute: dt.timedelta) -> None:
    davos = location_id("Davos")
    built.conn.execute(tables.hold.insert().values(
        id="1f2e3d4c:h1", what="file", place=f"{davos}/stock", since=built.now - minute * 140, code="rows_lost",
        message="STOCK_1025.CSV has 1,912 rows fewer than the file before. 30 % are allowed to go at once.",
        hint="Open the file at the till. If the export was cut short, write it again.", affected=1912, state="open",
        agent_id=f"agent-{davos}", sample=msgspec.json.encode([
            {"row": str(40 + i), "key": item.code, "before": "7", "after": None}
            for i, item in enumerate(built.items[3:11])
        ]).decode(),
    ))


def _refused(built: Builder, minute: dt.timedelta) -> None:
    for n in range(3):
        built.conn.execute(tables.dead_letter.insert().values(
            id=f"a-{n}", origin="agent", place="agent-04", since=built.now - minute * (112 + n), code="kind_unknown",
            message="The change speaks of “loyalty_points”, which this server does not know.", payload=b"{}",
            payload_sha256="00",
        ))


def make_app(
    store: Store, now: dt.datetime = NOW, config: ServerConfig = CONFIG, started_at: dt.datetime = NOW
) -> web.Application:
    """The dashboard over a store whose clock stands still."""
    app = web.Application()
    setup_dashboard(app, DashboardContext(store, config, lambda: now, "0.1.0", started_at))
    return app


def memory_store(chain: Chain | None = None) -> Store:
    """A store in memory with every table and a chain in it; a chain is built once and then copied."""
    if chain is None:
        engine = make_engine("sqlite://")
        with engine.begin() as conn:
            tables.metadata.create_all(conn)
        return Store(engine)
    if chain not in _BUILT:
        first = memory_store()
        first.submit(chain, NOW).result()
        _BUILT[chain] = _driver(first.engine).serialize()
        first.close()
    engine = make_engine("sqlite://")
    _driver(engine).deserialize(_BUILT[chain])
    return Store(engine)


def _driver(engine: sa.Engine) -> sqlite3.Connection:
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def main() -> None:
    """Serve a chain: `seed PORT [busy|calm|empty]`."""
    store = memory_store({"busy": busy_chain, "calm": calm_chain}.get(sys.argv[2] if len(sys.argv) > 2 else "busy"))
    web.run_app(make_app(store), host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
