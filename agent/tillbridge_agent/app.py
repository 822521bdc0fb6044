"""The composition root of the agent: builds every object, starts the loops, stops them in order."""

import asyncio
import contextlib
import datetime as dt
import secrets
import signal
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec
import structlog

from tillbridge_agent import identity as identities
from tillbridge_agent import scanning, status
from tillbridge_agent.capture import Capture, prepare_copies
from tillbridge_agent.config import AgentConfig, FeedConfig
from tillbridge_agent.core.rows import Mapped
from tillbridge_agent.core.uplink import Uplink
from tillbridge_agent.deeds import Deeds
from tillbridge_agent.errors import ConfigError
from tillbridge_agent.evaluate import open_rows
from tillbridge_agent.fullstate import FullStates
from tillbridge_agent.journals import Journals
from tillbridge_agent.local import LocalDoor
from tillbridge_agent.orders import WebOrders
from tillbridge_agent.scanning import ScannerLoop
from tillbridge_agent.service import notify
from tillbridge_agent.sources.folder import FolderHints
from tillbridge_agent.store import captures, outbox
from tillbridge_agent.store.captures import Known
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.store.outbox import Sender
from tillbridge_agent.sync import BatchLane, MailLane, new_epoch_id
from tillbridge_agent.transport import Clock, Transport
from tillbridge_agent.watch import FeedWatch
from tillbridge_protocol.changes import FeedInfo

log = structlog.get_logger()


def utc_now() -> dt.datetime:
    """The machine's clock, aware UTC."""
    return dt.datetime.now(dt.UTC)


async def run_until_stopped(config: AgentConfig) -> None:
    """Run the agent until SIGINT or SIGTERM. Raises ConfigError before anything is started."""
    log_to_stderr()
    identity = identities.load(config.state)
    if config.server is not None and config.server.rstrip("/") != identity.server:
        raise ConfigError(str(config.path), "server", f"This agent is enrolled at {identity.server}.",
                          "Enroll again with a code of the new server, or put the old address back.")
    agent = Agent(config, identity)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has no loop signal handlers
            loop.add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession() as session:
        await agent.start(session)
        try:
            await agent.run_until(stop)
        finally:
            await agent.stop()


class Agent:
    """Everything a running agent is made of."""

    def __init__(self, config: AgentConfig, identity: identities.Identity) -> None:
        self.config, self.identity = config, identity
        self.version = version("tillbridge-agent")
        self.watches: dict[str, FeedWatch] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Open the database, then the local door, then start the loops."""
        config, copies = self.config, self.config.state / "copies"
        config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = store = _open_store(config.state / "agent.db")
        prepare_copies(copies)
        await store.run(outbox.adopt, self.identity.agent, new_epoch_id())
        await store.run(captures.forget_half_sent)
        await store.run(outbox.remember_feeds, self._sender())
        self.fulls = FullStates(store, copies, self._open_rows, self._copy_lost)
        self.capture = Capture(store, copies, utc_now)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="capture")
        await asyncio.get_running_loop().run_in_executor(self._executor, self.capture.tidy)
        kept = await store.run(outbox.meta, "clock_offset_s")
        clock = Clock(utc_now, float(kept or 0.0), lambda offset_s: self._keep_offset(store, offset_s))
        transport = Transport(self.identity, clock, session)
        self.uplink = Uplink(heartbeat_s=config.heartbeat_s)
        self.lane = BatchLane(
            store, transport, self.uplink, self.fulls, self._sender(), self._heartbeat,
            Random(secrets.randbits(64)), utc_now,  # noqa: S311 - jitter, not a secret
        )
        self.orders: WebOrders | None = None
        if config.orders is not None:
            self.orders = WebOrders(
                store, config.orders, self.identity, clock.signing_time, self.lane.wake, self.lane.introduce
            )
            self.lane.moved = self.orders.wake
        self.scanners = [ScannerLoop(one, store, utc_now, self.lane.wake) for one in config.devices]
        self._deeds = Deeds(self)
        self._door = LocalDoor(config.state, self._deeds.verbs())
        await self._door.open()
        self._start_loops(store, transport)
        notify.say("READY=1", f"STATUS={self.identity.location} at {self.identity.server}")
        log.info("running", location=self.identity.location, server=self.identity.server, status_page=self._door.url)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Wait for the stop; a loop that dies takes the agent with it, so that its supervisor restarts all."""
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done:
            if task is not waiting and task.exception() is not None:
                log.error("a loop died", loop=task.get_name(), exc_info=task.exception())
                raise SystemExit(1)

    async def stop(self) -> None:
        """Stop the loops, finish the capture under way, close the database."""
        notify.say("STOPPING=1")
        await self._door.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hints.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
        if self.orders is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.orders.close)
        self.store.close()
        log.info("stopped")

    async def status(self) -> dict[str, Any]:
        """The `status` document."""
        facts = await self.store.run(status.read_facts)
        return status.status_document(
            facts, identity=self.identity, version=self.version, feeds=self.config.feeds, watches=self.watches,
            uplink=self.uplink, lane=self.lane, state=self.config.state,
            troubles=[*self._deeds.troubles.now(), *scanning.troubles(self.scanners)],
            devices=[scanning.device_document(one) for one in self.scanners],
        )

    async def on_capture_thread(self, call: Any, *args: Any) -> Any:
        """Run something between two captures."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def feed(self, name: str) -> FeedConfig:
        """The configured feed of this name. Raises ConfigError."""
        return self.config.feed(name)

    def _start_loops(self, store: AgentStore, transport: Transport) -> None:
        self._hints = FolderHints(asyncio.get_running_loop())
        journals = Journals(store, utc_now)
        for feed in self.config.feeds:
            watch = FeedWatch(feed, self.capture, journals, self._executor, utc_now, self.lane.wake)
            self.watches[feed.name] = watch
            self._tasks.append(asyncio.create_task(watch.run(self._hints), name=f"feed {feed.name}"))
        self._tasks.append(asyncio.create_task(self.lane.run(), name="batches"))
        for one in self.scanners:
            self._tasks.append(asyncio.create_task(one.run(), name=f"device {one.config.name}"))
        if self.orders is not None:
            self._tasks.append(asyncio.create_task(self.orders.run(self._hints), name="orders"))
        mail = MailLane(store, transport, self._deeds.deal, self.orders)
        self._tasks.append(asyncio.create_task(mail.run(), name="mailbox"))
        if (silence_s := notify.watchdog_s()) is not None:
            answers = notify.keep_alive(lambda: store.run(outbox.meta, "epoch"), silence_s)
            self._tasks.append(asyncio.create_task(answers, name="watchdog"))

    def _sender(self) -> Sender:
        feeds = {
            feed.name: FeedInfo(numbering=feed.numbering, config=feed.fingerprint, absence=feed.absence)
            for feed in self.config.feeds
        }
        feeds |= {one.name: FeedInfo(numbering=one.numbering, absence="nothing") for one in self.config.devices}
        return Sender(self.identity.agent, self.identity.location, feeds)

    async def _heartbeat(self) -> Any:
        facts = await self.store.run(status.read_facts)
        return status.heartbeat(
            facts, version=self.version, now=utc_now(), feeds=self.config.feeds, watches=self.watches,
            state=self.config.state, orders_problem=None if self.orders is None else self.orders.problem,
            devices=[scanning.device_health(one) for one in self.scanners],
        )

    def _keep_offset(self, store: AgentStore, offset_s: float) -> None:
        log.info("clock corrected", offset_s=round(offset_s, 1))
        store.submit(outbox.put_meta, "clock_offset_s", str(offset_s))

    def _copy_lost(self, feed: str) -> None:
        """The kept copy of a feed is gone: its export is read again."""
        log.warning("copy lost", feed=feed)
        if feed in self.watches:
            self.watches[feed].look_again()

    def _open_rows(self, known: Known, path: Path) -> Iterator[Mapped]:
        """The rows of a kept copy under the configuration it was accepted with."""
        return open_rows(msgspec.json.decode(known.config, type=FeedConfig), path, known.encoding)


def _open_store(database: Path) -> AgentStore:
    """The agent's database, which nobody else may have open. Raises ConfigError."""
    try:
        return AgentStore(database)
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            str(database), "", f"It cannot be opened: {error}.",
            "Stop the other agent that uses this folder. If there is none, move the file to another place: the agent "
            "then makes a new one and sends everything again.",
        ) from error


def log_to_stderr() -> None:
    """JSON lines on stderr; stdout belongs to documents."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info, structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=True,
    )
