"""Records the real agent process under strace while it places one order and takes the till's answer.

Head office is the chain of tests/integration/orders.py behind the real API, in this process; after each commit its
database is kept with the moment, so that a cut can be met by what head office knew just then.
"""

import asyncio
import datetime as dt
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.faults.powercut.trace import CALLS, Call, read_calls
from tests.integration.orders import Chain
from tests.integration.ordertill import AGENT, LOCATION, Pos

from tillbridge_agent import identity as identities
from tillbridge_agent.identity import Identity
from tillbridge_protocol.limits import BODY_BYTES_MAX
from tillbridge_server.agents.api import AgentApi
from tillbridge_server.agents.keys import load_keys, make_keys
from tillbridge_server.config import ServerConfig
from tillbridge_server.store.database import Store, make_engine
from tillbridge_server.store.migrations import migrate
from tillbridge_server.store.tables import agent as agent_table

HERE = Path(__file__).parents[3]
WITHIN_S = 90.0
LOOK_S = 0.01
_STATE, _POS = "state", "pos"
_AGENT_TOML = """\
heartbeat_s = 600
server = "http://127.0.0.1:{port}"
allowed_roots = ["."]
[orders]
format = "csv"
path = "pos/import"
time_zone = "UTC"
[[orders.records]]
each = "order"
columns = [{{ const = "H" }}, "order", "revision", "total"]
[[orders.records]]
each = "line"
columns = [{{ const = "L" }}, "order", "line", "code", "quantity", "unit_price"]
[orders.answers]
path = "pos/answers"
pattern = "*.ANS"
message = 3
accepted = ["OK"]
rejected = ["ERR"]
settle_s = 0.1
"""


@dataclass(frozen=True)
class Snapshot:
    """Head office's database after a commit, and when that was, in seconds since 1970."""

    at: float
    content: bytes


@dataclass(frozen=True)
class Deed:
    """What the till's own program did with a file, and when: `content` None took it away."""

    at: float
    path: str
    content: bytes | None


@dataclass(frozen=True)
class Recording:
    """Everything that happened, from the start of the agent on; cuts are of interest from `since` on."""

    folder: Path
    calls: list[Call]
    snapshots: list[Snapshot]
    deeds: list[Deed]
    since: float
    order: str
    body: bytes
    key: Ed25519PrivateKey

    @property
    def folders(self) -> list[str]:
        """The folders that were there before the agent was."""
        pos = self.folder / _POS
        return [str(path) for path in (self.folder / _STATE, pos, pos / "import", pos / "done", pos / "answers")]


class WatchedStore(Store):
    """Keeps a copy of the database after each commit, before anybody hears of it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.snapshots: list[Snapshot] = []
        super().__init__(engine)

    def _commit_group(self, group: list[tuple[Callable[[sa.Connection], Any], "Future[Any]"]]) -> None:
        inner: list[tuple[Callable[[sa.Connection], Any], Future[Any]]] = [(call, Future()) for call, _ in group]
        super()._commit_group(inner)
        content = serialized(self.engine)
        if not self.snapshots or self.snapshots[-1].content != content:
            self.snapshots.append(Snapshot(time.time(), content))
        for (_, done), (_, told) in zip(inner, group, strict=True):
            if told.set_running_or_notify_cancel():
                error = done.exception()
                if error is None:
                    told.set_result(done.result())
                else:
                    told.set_exception(error)


class HeadOffice(Chain):
    """The chain on a store of its own, whose clock is the machine's."""

    def __init__(self, store: WatchedStore, key: Ed25519PrivateKey, till_key: Ed25519PrivateKey) -> None:
        super().__init__(store.engine)
        self._store, self.key, self.now = store, key, utc_now()
        public = till_key.public_key().public_bytes_raw().hex()
        with store.engine.begin() as conn:
            conn.execute(agent_table.update().where(agent_table.c.id == AGENT).values(public_key=public))

    def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """On the store's thread, where the API's calls run as well."""
        return self._store.submit(call, *args, **kwargs).result()


def utc_now() -> dt.datetime:
    """The machine's clock."""
    return dt.datetime.now(dt.UTC)


def serialized(engine: sa.Engine) -> bytes:
    """A database in memory as bytes."""
    raw = engine.raw_connection()
    try:
        content: bytes = raw.driver_connection.serialize()  # type: ignore[union-attr]
        return content
    finally:
        raw.close()


async def record(folder: Path, mutant: str) -> Recording:
    """One order from the mailbox to the till's yes, by a real agent with this mistake ("none" for none)."""
    folder = folder.resolve()
    make_keys(folder / "keys", utc_now() - dt.timedelta(days=1))
    keys, till_key = load_keys(folder / "keys"), Ed25519PrivateKey.generate()
    engine = make_engine("sqlite://")
    migrate(engine)
    store = WatchedStore(engine)
    chain = HeadOffice(store, keys.key, till_key)
    chain.counts(LOCATION, chain.now, pear=9)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    address = f"127.0.0.1:{port}"
    api = AgentApi(
        store=store, keys=keys, config=ServerConfig(name="Fennel", listen=address, public_url=f"http://{address}"),
        clock=utc_now, new_agent_id=lambda: "", applied=lambda: None, started=utc_now() - dt.timedelta(hours=1),
    )
    pos = Pos(folder / _POS)
    (folder / _STATE).mkdir(mode=0o700)
    (folder / "agent.toml").write_text(_AGENT_TOML.format(port=port), encoding="utf-8")
    identities.save(folder / _STATE, Identity(
        agent=AGENT, key_id=f"a/{AGENT}/1", location=LOCATION, server=f"http://{address}",
        private_key=till_key.private_bytes_raw().hex(), root=keys.root.hex(),
        server_keys={keys.key_id: keys.key.public_key().public_bytes_raw().hex()}, tls_ca="",
    ))
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.add_routes(api.routes())
    app.on_shutdown.append(api.end_polls)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        since, order, body, deeds = await _story(folder, mutant, chain, api, pos)
    finally:
        await runner.cleanup()
        store.close()
    with (folder / "trace").open(encoding="ascii") as trace:
        calls = list(read_calls(trace))
    return Recording(folder, calls, store.snapshots, deeds, since, order, body, keys.key)


async def _story(
    folder: Path, mutant: str, chain: HeadOffice, api: AgentApi, pos: Pos,
) -> tuple[float, str, bytes, list[Deed]]:
    """The agent starts, an order comes, the till takes it and answers, the agent stops."""
    with (folder / "agent.log").open("wb") as log:
        agent = await asyncio.create_subprocess_exec(
            "strace", "-f", "--seccomp-bpf", "-qq", "-ttt", "-T", "-xx", "-s", "16777216", "-e", f"trace={CALLS}",
            "-e", "signal=none", "-o", str(folder / "trace"), sys.executable, "-m", "tests.faults.powercut.agent",
            mutant, "run", "--config", str(folder / "agent.toml"), cwd=HERE, stdout=log, stderr=log,
        )
    try:
        told = sa.select(agent_table.c.orders_told_at).where(agent_table.c.id == AGENT)
        await _until(agent, folder, lambda: chain.run(lambda conn: conn.execute(told).scalar()) is not None)
        since = time.time()
        chain.now = utc_now()
        order = chain.buys(pear=1)
        for one in chain.sends():
            api.notify(one)
        await _until(agent, folder, lambda: chain.state(order) == "published")
        (file,) = pos.files()
        deeds = [Deed(time.time(), str(file), None)]
        body = file.read_bytes()
        pos.take()
        await _until(agent, folder, lambda: chain.state(order) == "taken")
        answer = f"{order};OK;\r\n".encode()
        deeds.append(Deed(time.time(), str(pos.answers / "00001.ANS"), answer))
        (pos.answers / "00001.NEW").write_bytes(answer)
        (pos.answers / "00001.NEW").rename(pos.answers / "00001.ANS")
        await _until(agent, folder, lambda: chain.state(order) == "accepted")
        return since, order, body, deeds
    finally:
        if agent.returncode is None:
            # Asked to stop, strace would leave the agent alone; the agent's end is also its own.
            os.kill(int((folder / "trace").read_text(encoding="ascii").split(maxsplit=1)[0]), signal.SIGTERM)
            await agent.wait()


async def _until(agent: asyncio.subprocess.Process, folder: Path, done: Callable[[], bool]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not done():
        log = (folder / "agent.log").read_text(encoding="utf-8", errors="replace")[-3000:]
        assert agent.returncode is None, f"the recorded agent ended with {agent.returncode}:\n{log}"
        assert time.monotonic() < ends, f"the recorded agent did not get there:\n{log}"
        await asyncio.sleep(LOOK_S)
