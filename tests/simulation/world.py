"""One simulated history: a POS, an agent and a server in one process, from one seed, on virtual time.

Nothing here decides about batches, positions or files: every such step is one of the functions that the
two `app.py` wire (Capture.take, Journals.take, BatchLane.step, inbox.receive_batch). Only the clock, the wire,
the crashes and the restores are simulated; the databases are SQLite in memory, the files are real.
"""

import datetime as dt
import functools
import os
import shutil
import sqlite3
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool
from tests.simulation.orders import OrderSide
from tests.simulation.wire import AGENT, Crash, FaultPlan, Wire

from tillbridge_agent import crash as agent_crash
from tillbridge_agent.capture import Capture, prepare_copies
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.settle import Settling
from tillbridge_agent.core.uplink import Uplink
from tillbridge_agent.evaluate import open_rows
from tillbridge_agent.fullstate import FullStates
from tillbridge_agent.journals import Journals
from tillbridge_agent.sources.folder import ChangedWhileReading, list_folder
from tillbridge_agent.store import captures, outbox
from tillbridge_agent.store.database import open_database, transact
from tillbridge_agent.store.outbox import Sender
from tillbridge_agent.sync import BatchLane
from tillbridge_protocol.changes import FeedInfo
from tillbridge_protocol.heartbeat import FeedHealth, Heartbeat, OrdersHealth
from tillbridge_server import crash as server_crash
from tillbridge_server.agents import enrollment
from tillbridge_server.store.tables import agent as agent_table
from tillbridge_server.store.tables import metadata

START = dt.datetime(2026, 3, 1, 6, tzinfo=dt.UTC)
LOCATION = "mallow"


class DirectStore:
    """The agent's database without its thread: each call is one transaction, at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def submit(self, call: Any, *args: Any, **kwargs: Any) -> "Future[Any]":
        """As AgentStore.submit."""
        future: Future[Any] = Future()
        future.set_result(transact(self.connection, call, *args, **kwargs))
        return future

    async def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """As AgentStore.run."""
        return transact(self.connection, call, *args, **kwargs)


class Pos:
    """The till: truth about stock and sales, its export file and its journal."""

    def __init__(self, folder: Path, rng: Random, codes: int) -> None:
        self.folder, self.rng = folder, rng
        self.stock = {f"{n:03}": Decimal(rng.randint(0, 40)) for n in range(codes)}
        self.ever: dict[str, set[str]] = {code: {str(count)} for code, count in self.stock.items()}
        self.sales: dict[str, tuple[str, str]] = {}
        self.writing: bytes | None = None
        self._sold = 0
        self._rolled = 0

    def sell(self) -> None:
        """One receipt line: the journal says it at once, the next export counts it."""
        code = self.rng.choice(sorted(self.stock))
        self.sell_one(code, self.rng.randint(1, 3))

    def sell_one(self, code: str, quantity: int, order: str = "") -> None:
        """So many pieces of one item, perhaps under the number of a web order."""
        self._sold += 1
        line = f"R{self._sold};{code};{quantity};2026-03-01 10:{self._sold % 60:02}:00;{order}"
        self.sales[f"R{self._sold}"] = (code, str(quantity))
        self._set(code, self.stock.get(code, Decimal(0)) - quantity)
        journal = self.folder / "JOURNAL.TXT"
        with journal.open("ab") as file:
            text = (line + "\r\n").encode()
            cut = self.rng.randint(1, len(text) - 1) if self.rng.random() < 0.2 else len(text)
            file.write(text[:cut])
            file.write(text[cut:])

    def receive(self) -> None:
        """Goods come, an item is delisted, or a new one is listed."""
        draw = self.rng.random()
        code = self.rng.choice(sorted(self.stock))
        if draw < 0.7:
            self._set(code, self.stock[code] + self.rng.randint(1, 12))
        elif draw < 0.85 and len(self.stock) > 4:
            del self.stock[code]
        else:
            self._set(f"{self.rng.randint(0, 999):03}", Decimal(self.rng.randint(0, 9)))

    def export(self, cut: bool = False) -> None:
        """Rewrite the export in place; `cut` leaves it half-written."""
        rows = [f"{code};{count}" for code, count in self.stock.items()]
        if self.rng.random() < 0.3:
            self.rng.shuffle(rows)
        text = "\r\n".join(["Code;Stock", *rows, ""]).encode()
        self.writing = text if cut else None
        (self.folder / "STOCK.CSV").write_bytes(text[: self.rng.randint(0, len(text))] if cut else text)

    def go_on_writing(self) -> None:
        """A slow till finishes the export it was in the middle of."""
        if self.writing is not None:
            (self.folder / "STOCK.CSV").write_bytes(self.writing)
            self.writing = None

    def roll_journal(self) -> None:
        """The till closes its journal under another name and begins a new one."""
        journal = self.folder / "JOURNAL.TXT"
        if journal.exists():
            self._rolled += 1
            journal.rename(self.folder / f"JOURNAL-{self._rolled}.TXT")

    def _set(self, code: str, count: Decimal) -> None:
        self.stock[code] = count
        self.ever.setdefault(code, set()).add(str(count))


def feeds(folder: Path) -> tuple[FeedConfig, FeedConfig]:
    """A stock export rewritten in place, and a sales journal."""
    import msgspec

    reader = {"format": "delimited", "separator": ";", "encodings": ["utf-8"]}
    stock = {
        "name": "stock", "numbering": "pos", "reader": reader,
        "source": {"path": str(folder), "pattern": "STOCK*.CSV", "settle_s": 1.0},
        "mapping": {"key": ["Code"], "stock_level": {"on_hand": "Stock"}},
        "guards": {name: {"share": 1.0, "at_least": 100_000} for name in ("rows_lost", "stock_to_zero")},
    }
    sales = {
        "name": "sales", "numbering": "pos",
        "reader": {**reader, "header": False, "columns": ["Id", "Code", "Qty", "At", "Order"]},
        "source": {"path": str(folder), "pattern": "JOURNAL*.TXT", "style": "journal"},
        "mapping": {
            "key": ["Id"], "code": "Code", "time_zone": "UTC",
            "sale_line": {
                "quantity": "Qty", "at": {"column": "At", "format": "%Y-%m-%d %H:%M:%S"}, "order": "Order",
            },
        },
    }
    return msgspec.convert(stock, FeedConfig), msgspec.convert(sales, FeedConfig)


class World:
    """The history of one seed; `story` is what a failure prints. `sells`: a storefront sends web orders."""

    def __init__(self, seed: int, folder: Path, template: bytes, plan: FaultPlan, *, sells: bool = True) -> None:
        self.rng, self.sells = Random(seed), sells
        self.plan, self.folder, self.template = plan, folder, template
        self.story: list[str] = [f"seed {seed}, faults {plan}"]
        self.at_s = 0.0
        self.drop_folder, self.state = folder / "drop", folder / "state"
        self.drop_folder.mkdir(parents=True)
        prepare_copies(self.state / "copies")
        self.pos = Pos(self.drop_folder, self.rng, self.rng.randint(5, 9))
        self.feeds = feeds(self.drop_folder)
        self.engine, empty = shared_engine()
        put_content(self.engine, empty)
        self._enroll()
        self.connection = database_from(template)
        self.wire, self.web = Wire(self), OrderSide(self, folder)
        self.agent_backup: tuple[bytes, dict[str, bytes]] | None = None
        self.server_backup = content_of(self.engine)
        for module in (agent_crash, server_crash):
            module.reach = self._reach  # type: ignore[attr-defined]
        self.calm = False
        self.start()

    # -- time, crashes ------------------------------------------------------------------------------------

    def now(self) -> dt.datetime:
        """Virtual time, aware UTC."""
        return START + dt.timedelta(seconds=self.at_s)

    def tell(self, words: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.at_s:7.1f}s  {words}")

    def _reach(self, name: str) -> None:
        if not self.calm and self.rng.random() < self.plan.crash:
            self.tell(f"crash at {name}")
            raise Crash(name)

    # -- the agent ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """What the service manager does: start the agent until it stays up."""
        while True:
            try:
                return self._boot()
            except Crash:
                continue

    def _boot(self) -> None:
        """A new agent process on the database and files as they are."""
        store: Any = DirectStore(self.connection)
        self.boot_id, self.requests = f"b{self.rng.getrandbits(40):x}", 0
        self.settling = {feed.name: Settling(1.0 if feed.name == "stock" else 0.0) for feed in self.feeds}
        transact(self.connection, captures.forget_half_sent)
        self.fulls = FullStates(
            store, self.state / "copies",
            lambda known, path: open_rows(self.feeds[0], path, known.encoding),
            lambda feed: self.settling[feed].again(),
        )
        self.capture = Capture(store, self.state / "copies", self.now)
        self.journals = Journals(store, self.now)
        if self.sells:
            self.web.boot(store)
        infos = {feed.name: FeedInfo(numbering=feed.numbering, absence=feed.absence) for feed in self.feeds}
        self.lane = BatchLane(
            store, self.wire, Uplink(heartbeat_s=20.0), self.fulls, Sender(AGENT, LOCATION, infos), self._heartbeat,
            self.rng, self.now, monotonic=lambda: self.at_s, new_epoch=lambda: f"e{self.rng.getrandbits(60):x}",
        )

    async def _heartbeat(self) -> Heartbeat:
        seen = transact(self.connection, outbox.confirmed)
        feeds = [FeedHealth(name, "idle", as_of=as_of) for name, as_of in seen.items()]
        health = OrdersHealth() if self.sells else None
        return Heartbeat("0", self.now(), 0, 0, None, feeds, [], [], 0, {}, health)

    def look(self) -> None:
        """What the two feed watches do: list, let settle, hand settled files on."""
        for feed in self.feeds:
            assert feed.source is not None
            listing = list_folder(self.drop_folder, feed.source.pattern)
            settling = self.settling[feed.name]
            look = settling.look([(seen.name, seen.signature) for seen in listing], self.at_s)
            for seen in (seen for seen in listing if seen.name in look.settled):
                try:
                    if feed.source.style == "journal":
                        self.journals.take(feed, seen)
                        verdict = "accept"
                    else:
                        verdict = self.capture.take(feed, seen, None, settling.stood_s(seen.name, self.at_s)).verdict
                except ChangedWhileReading:
                    continue
                if verdict == "pending":
                    settling.wait(seen.name, self.at_s)
                else:
                    settling.done(seen.name, seen.signature)

    # -- faults on machines ------------------------------------------------------------------------------

    def back_up_agent(self) -> None:
        """Remember the agent's folder as it is now."""
        self.agent_backup = (self.connection.serialize(), self._copies())

    def restore_agent(self) -> None:
        """Put the agent's folder back, with or without its copies."""
        if self.agent_backup is None:
            return
        database, copies = self.agent_backup
        self.connection = database_from(database)
        if self.rng.random() < 0.5:
            shutil.rmtree(self.state / "copies")
            prepare_copies(self.state / "copies")
            for name, content in copies.items():
                (self.state / "copies" / name).write_bytes(content)
        self.tell("agent restored")
        self.start()

    def lose_queue(self) -> None:
        """The agent's database is gone; its identity is not."""
        self.connection = database_from(self.template)
        self.tell("queue lost")
        self.start()

    def back_up_server(self) -> None:
        """A backup: from now on everything in it is durable."""
        self.server_backup = content_of(self.engine)
        with self.engine.begin() as conn:
            conn.execute(agent_table.update().values(durable_seq=agent_table.c.seq))

    def restore_server(self) -> None:
        """The server comes back as it was at its last backup."""
        put_content(self.engine, self.server_backup)
        self.web.server_gone()
        self.tell("server restored")

    def _copies(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.state / "copies").iterdir()}

    def _enroll(self) -> None:
        with self.engine.begin() as conn:
            enrollment.ensure_location(
                conn, location_id=LOCATION, name="", phase="everything", time_zone="UTC", by="test", now=START
            )
            conn.execute(agent_table.insert().values(
                id=AGENT, location_id=LOCATION, key_id=f"a/{AGENT}/1", public_key="00" * 32, status="active",
                host="{}", seq=0, head="", durable_seq=0, boot_n=0, boots_seen="[]", resync_asked=False,
                enrolled_at=START,
            ))


@functools.cache
def shared_engine() -> tuple[sa.Engine, bytes]:
    """One engine in memory for all histories of a process, and its content when empty.

    Statements are compiled once per engine, which is most of the time a short history would take.
    """
    engine = sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False),
        poolclass=StaticPool,
    )
    sa.event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
    metadata.create_all(engine)
    return engine, content_of(engine)


def content_of(engine: sa.Engine) -> bytes:
    """Everything in a database in memory."""
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        return raw.serialize()


def put_content(engine: sa.Engine, content: bytes) -> None:
    """Replace everything in a database in memory."""
    raw = engine.raw_connection()
    assert isinstance(raw.driver_connection, sqlite3.Connection)
    raw.driver_connection.deserialize(content)
    raw.close()


def database_from(content: bytes) -> sqlite3.Connection:
    """An agent database in memory with this content."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(content)
    connection.row_factory = sqlite3.Row
    return connection


def template_database(folder: Path) -> bytes:
    """An empty agent database with its schema, made once by the real migrations."""
    path = folder / f"template-{os.getpid()}.db"
    connection = open_database(path)
    connection.execute("PRAGMA locking_mode=NORMAL").fetchall()
    connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    content = connection.serialize()
    connection.close()
    return content
