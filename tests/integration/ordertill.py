"""A till that takes web orders, for tests: the real lanes, loop, database and folders, one request at a time.

Head office is the `Chain` of tests/integration/orders.py; the till's own program is `Pos`. A crash is an
exception at a named point: whatever was not durable by then is gone, and a new life begins on what is there.
"""

import asyncio
import datetime as dt
import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from tests.integration.orders import Chain

from tillbridge_agent import crash
from tillbridge_agent.core.uplink import Uplink, Wait
from tillbridge_agent.errors import TryLater
from tillbridge_agent.fullstate import FullStates
from tillbridge_agent.identity import Identity
from tillbridge_agent.imports import OrdersConfig
from tillbridge_agent.orders import WebOrders
from tillbridge_agent.store import captures, orders
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.store.outbox import Sender
from tillbridge_agent.sync import BatchLane, MailLane
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat, OrdersHealth
from tillbridge_protocol.mailbox import Body, Mail, MarkOrder, PlaceOrder, Poll
from tillbridge_protocol.positions import Boot, ErrorAnswer, Position, Resync
from tillbridge_server.agents import inbox
from tillbridge_server.agents.inbox import Lane

#: Longer than what head office takes for the same moment when it tells boots apart.
ROUND = dt.timedelta(seconds=3)
AGENT, LOCATION = "mallow-1", "mallow"
ORDERS = {
    "format": "csv", "name": "ORD{sequence:05d}.CSV", "time_zone": "UTC",
    "records": [
        {"each": "order", "columns": [{"const": "H"}, "order", "revision", "total"]},
        {"each": "line", "columns": [{"const": "L"}, "order", "line", "code", "quantity", "unit_price"]},
    ],
    "answers": {"pattern": "*.ANS", "message": 3, "accepted": ["OK"], "rejected": ["ERR"], "settle_s": 0.0},
}


class Crash(BaseException):
    """The process is gone."""


class Pos:
    """The till's own program: imports what lies in its folder, moves it away, answers."""

    def __init__(self, folder: Path) -> None:
        """Empty folders."""
        self.drop, self.done, self.answers = folder / "import", folder / "done", folder / "answers"
        for path in (self.drop, self.done, self.answers):
            path.mkdir(parents=True, exist_ok=True)
        self.imported: Counter[str] = Counter()
        self._answered = itertools.count(1)

    def files(self) -> list[Path]:
        """What waits in the import folder."""
        return sorted(path for path in self.drop.iterdir() if path.is_file())

    def take(self) -> list[str]:
        """Import every file; the orders in them."""
        found = []
        for path in self.files():
            lines = path.read_bytes().decode().splitlines()
            assert lines[0].startswith("H;"), f"{path.name} is torn: {lines}"
            assert lines[1].startswith("L;"), f"{path.name} is torn: {lines}"
            found.append(lines[0].split(";")[1])
            path.rename(self.done / f"{path.name}.{sum(self.imported.values())}")
            self.imported[found[-1]] += 1
        return found

    def answer(self, *lines: str, name: str = "") -> None:
        """Write an answer file."""
        path = self.answers / (name or f"{next(self._answered):05}.ANS")
        path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


class Wire:
    """Stands where the transport stands; `lost` says how many of the next answers nobody hears."""

    def __init__(self, till: "OrderTill") -> None:
        """A fresh process has a fresh boot."""
        self._till = till
        self.lost = 0
        self.renew_boot()

    def renew_boot(self) -> None:
        """As the transport does."""
        self._boot, self._requests = f"boot-{next(self._till.numbers)}", itertools.count(1)

    async def send_batch(self, batch: FrozenBatch, position: Position) -> Any:
        """A batch."""
        return self._ask(
            inbox.receive_batch, batch.body, self._lane(position), backs_up=False, moves=self._till.chain.moves
        )

    async def heartbeat(self, heartbeat: Heartbeat, position: Position) -> Any:
        """A heartbeat."""
        return self._ask(inbox.receive_heartbeat, heartbeat, self._lane(position))

    async def poll(self, poll: Poll, position: Position) -> Any:
        """A poll that does not wait."""
        answer: Mail | Resync | ErrorAnswer = self._ask(inbox.receive_poll, poll, self._lane(position))
        return answer

    def _lane(self, position: Position) -> Lane:
        return Lane(position, Boot(self._boot, next(self._requests)), self._till.chain.now)

    def _ask(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        chain = self._till.chain
        if not self._till.line:
            raise TryLater("no line", hint="")
        try:
            answer = chain.run(call, AGENT, *args, now=chain.now, **kwargs)
        except ProtocolError as error:
            return ErrorAnswer(error.code, error.message, error.hint)
        if self.lost:
            self.lost -= 1
            raise TryLater("the answer is lost", hint="")
        return answer


class OrderTill:
    """One machine: `state` is its folder; the import folder of `pos` may be shared with another one."""

    def __init__(self, folder: Path, chain: Chain, pos: Pos, *, state: str = "state", **otherwise: Any) -> None:
        """Begins its first life; what is given otherwise replaces a key of the orders table."""
        self.folder, self.chain, self.pos, self.state = folder, chain, pos, folder / state
        self.state.mkdir(exist_ok=True)
        self.numbers = itertools.count(1 if state == "state" else 1_000_001)
        plain = {**ORDERS, "path": str(pos.drop), "spool": str(pos.drop / ".tillbridge"), **otherwise}
        if plain["answers"] is not None:
            plain["answers"] = {**plain["answers"], "path": str(pos.answers)}
        self.config = msgspec.convert(plain, OrdersConfig)
        self.rng, self.line, self.at_s = Random(1), True, 0.0
        self.lives = 0
        self.begin()

    # -- lives -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the process on what is there."""
        self.lives += 1
        self.chain.now += ROUND
        self.store = AgentStore(self.state / "agent.db")
        self.store.submit(captures.forget_half_sent).result()
        identity = Identity(
            agent=AGENT, key_id="a/mallow-1/1", location=LOCATION, server="http://127.0.0.1", private_key="00" * 32,
            root="", server_keys={"s/1": self.chain.key.public_key().public_bytes_raw().hex()}, tls_ca="",
        )
        self.wire: Any = Wire(self)
        self.lane = BatchLane(
            self.store, self.wire, Uplink(heartbeat_s=15.0),
            FullStates(self.store, self.state / "copies", lambda known, path: iter(()), lambda feed: None),
            Sender(AGENT, LOCATION, {}), self._heartbeat, self.rng, self.clock, monotonic=lambda: self.at_s,
            new_epoch=lambda: f"epoch-{self.state.name}-{next(self.numbers)}",
        )
        self.desk = WebOrders(self.store, self.config, identity, self.clock, self.lane.wake, self.lane.introduce)
        self.lane.moved = self.desk.wake
        self.mail = MailLane(self.store, self.wire, self._deal, self.desk)

    def end(self) -> None:
        """The process is gone; what was not durable with it."""
        self.desk.close()
        self.store.close()

    def again(self) -> None:
        """A new life on the same folder."""
        self.end()
        self.begin()

    def database(self) -> bytes:
        """The database as a backup would have it now."""
        content: bytes = self.run(lambda conn: conn.serialize())
        return content

    def restore(self, content: bytes | None) -> None:
        """The database is what it was, or is lost; a new life begins."""
        self.end()
        for path in self.state.glob("agent.db*"):
            path.unlink()
        if content is not None:
            (self.state / "agent.db").write_bytes(content)
        self.begin()

    def cloned(self) -> "OrderTill":
        """A second machine with a copy of this one's folder and the same import folder."""
        content = self.database()
        other = self.folder / "clone"
        shutil.copytree(self.state, other, ignore=shutil.ignore_patterns("agent.db*"))
        (other / "agent.db").write_bytes(content)
        return OrderTill(self.folder, self.chain, self.pos, state="clone")

    # -- time passes -------------------------------------------------------------------------------------------------

    def clock(self) -> dt.datetime:
        """The clock of the chain."""
        return self.chain.now

    async def round(self) -> None:
        """Each loop once: the batch lane until it waits, one poll, one look of the order loop."""
        self.at_s += 3_600.0  # whatever backed off tries again
        self.chain.now += ROUND
        for _ in range(8):
            if isinstance(await self.lane.step(), Wait):
                break
        await self.mail.step()
        await self.desk.step()

    async def rest(self, rounds: int = 8) -> None:
        """Enough rounds for everything that can happen by itself."""
        for _ in range(rounds):
            await self.round()

    def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """A store function in its own transaction."""
        return self.store.submit(call, *args, **kwargs).result()

    def row(self, order: str) -> dict[str, Any]:
        """The newest revision of an order as the agent has it."""
        row: dict[str, Any] | None = self.run(orders.newest, order)
        assert row is not None, f"{order} is not known here"
        return row

    def troubles(self) -> list[str]:
        """The codes of what hinders now."""
        return [one["code"] for one in self.desk.troubles.now()]

    async def _deal(self, body: Body) -> bool:
        if isinstance(body, PlaceOrder):
            return await self.desk.keep(body)
        assert isinstance(body, MarkOrder)
        await self.desk.marked(body)
        return True

    async def _heartbeat(self) -> Heartbeat:
        health = OrdersHealth(self.run(orders.counts), self.desk.problem)
        return Heartbeat("1", self.clock(), 0, 0, None, [], [], [], 1, {}, health)


class Crashes:
    """Ends the life of whoever reaches `armed` for the n-th time; `passed` counts every point."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is armed."""
        self.passed: Counter[str] = Counter()
        self.armed, self.count, self.hit = "", 0, False
        self.at: Callable[[str], object] = lambda name: None
        monkeypatch.setattr(crash, "reach", self.reach)

    def arm(self, point: str, count: int = 1) -> None:
        """The `count`-th time from now on."""
        self.armed, self.count, self.hit = point, count, False

    def reach(self, name: str) -> None:
        """As crash.reach, with an exception in place of an exit."""
        self.passed[name] += 1
        self.at(name)
        if name == self.armed:
            self.count -= 1
            if self.count == 0:
                self.armed, self.hit = "", True
                raise Crash(name)


def live(till: OrderTill, what: Callable[[], Any]) -> bool:
    """Let something happen; when the process dies over it a new life begins. True when it died."""
    try:
        asyncio.run(what())
    except Crash:
        till.again()
        return True
    return False


def buy(chain: Chain) -> str:
    """One order in the mailbox."""
    order = chain.buys(pear=1)
    assert chain.sends() == [AGENT]
    return order


def place(till: OrderTill, rounds: int = 8) -> None:
    """Let everything happen that can."""
    asyncio.run(till.rest(rounds))
