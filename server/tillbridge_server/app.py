"""The composition root of the server: builds every object, starts the loops, stops them in order."""

import asyncio
import contextlib
import datetime as dt
import secrets
import signal
import ssl
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from importlib.metadata import version
from random import Random
from typing import Any

import structlog
from aiohttp import web

from tillbridge_protocol.limits import BODY_BYTES_MAX
from tillbridge_protocol.orders import sign_order
from tillbridge_server import backups
from tillbridge_server.agents.api import AgentApi
from tillbridge_server.agents.keys import ServerKeys, load_keys
from tillbridge_server.config import ServerConfig, is_loopback
from tillbridge_server.connectors import make_connector
from tillbridge_server.connectors.interface import Given
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.routes import setup_dashboard
from tillbridge_server.door import Door
from tillbridge_server.errors import ConfigError
from tillbridge_server.service import notify
from tillbridge_server.store.database import Store
from tillbridge_server.store.opening import open_database
from tillbridge_server.verbs import VERBS
from tillbridge_server.workers.decider import Decider
from tillbridge_server.workers.intake import Intake
from tillbridge_server.workers.publisher import Publisher
from tillbridge_server.workers.sweeper import Sweeper

log = structlog.get_logger()


def utc_now() -> dt.datetime:
    """The machine's clock, aware UTC."""
    return dt.datetime.now(dt.UTC)


async def serve_until_stopped(config: ServerConfig) -> None:
    """Run the server until SIGINT or SIGTERM. Raises ConfigError when it cannot start."""
    log_to_stderr()
    tls = _tls(config)
    server = Server(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has no loop signal handlers
            loop.add_signal_handler(number, stop.set)
    await server.start(tls)
    try:
        await server.run_until(stop)
    finally:
        await server.stop()


@dataclass
class Server:
    """Everything a running server is made of."""

    config: ServerConfig
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _runners: list[web.AppRunner] = field(default_factory=list)
    _publish_wakes: list[asyncio.Event] = field(default_factory=list)

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Open the database, then listen, then start the loops."""
        config, started = self.config, utc_now()
        keys = load_keys(config.folder / config.keys)
        self._store = store = Store(open_database(config))
        self._dirty = asyncio.Event()
        self._api = AgentApi(
            store=store, keys=keys, config=config, clock=utc_now, new_agent_id=lambda: secrets.token_hex(8),
            applied=self._dirty.set, started=started,
        )
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.add_routes(self._api.routes())
        app.on_shutdown.append(self._api.end_polls)
        self._ordered = asyncio.Event()
        context = DashboardContext(
            store, config, utc_now, version("tillbridge-server"), started, self._acted, self._ordered.set
        )
        setup_dashboard(app, context)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, config.host, config.port, ssl_context=tls).start()
        except OSError as error:
            raise ConfigError(config.path, "listen", f"{config.listen} cannot be used: {error.strerror or error}.",
                              "Stop the other program that listens there, or choose another address.") from error
        self._door = Door(store, config, VERBS, root=keys.root, clock=utc_now, acted=self._acted)
        self._runners.append(await self._door.open())
        self._start_loops(store, keys)
        notify.say("READY=1", f"STATUS={config.public_url}")
        log.info("serving", url=config.public_url, listen=config.listen)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Wait for the stop; a loop that dies takes the server with it, so that its supervisor restarts all."""
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done:
            if task is not waiting and task.exception() is not None:
                log.error("a loop died", loop=task.get_name(), exc_info=task.exception())
                raise SystemExit(1)

    async def stop(self) -> None:
        """Stop listening, stop the loops, close the database."""
        notify.say("STOPPING=1")
        self._door.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for runner in self._runners:
            await runner.cleanup()
        self._store.close()
        log.info("stopped")

    def _start_loops(self, store: Store, keys: ServerKeys) -> None:
        config = self.config
        self._loop("decider", Decider(store, config, utc_now, self._dirty, lambda decided: self._queued_set()).run())
        connectors = {shop.id: make_connector(Given(shop, store, utc_now), config.path) for shop in config.storefronts}
        intake = Intake(
            store, config, connectors, lambda order: sign_order(order, keys.key, keys.key_id), utc_now, self._ordered,
            self._dirty.set, self._api.notify, config.folder,
        )
        self._loop("intake", intake.run())
        for shop in config.storefronts:
            wake = asyncio.Event()
            self._publish_wakes.append(wake)
            publisher = Publisher(
                store, shop.id, connectors[shop.id], utc_now, Random(secrets.randbits(64)), wake, _told_published  # noqa: S311
            )
            self._loop(f"publisher {shop.id}", publisher.run())
        self._loop("sweeper", Sweeper(store, utc_now).run())
        if (silence_s := notify.watchdog_s()) is not None:
            self._loop("watchdog", notify.keep_alive(lambda: asyncio.sleep(0), silence_s))
        if config.backup is not None:
            self._loop("backup", self._back_up_nightly())

    def _queued_set(self) -> None:
        for wake in self._publish_wakes:
            wake.set()

    def _loop(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def _acted(self) -> None:
        """Somebody did something: offers may be dirty, mail may wait."""
        self._dirty.set()
        self._ordered.set()
        for agent_id in list(self._api.mail):
            self._api.notify(agent_id)

    async def _back_up_nightly(self) -> None:
        plan = self.config.backup
        assert plan is not None
        while True:
            due = backups.next_backup_at(self.config, plan, utc_now())
            await asyncio.sleep((due - utc_now()).total_seconds())
            try:
                folder = self.config.folder / plan.folder
                done = await self._store.run(backups.make_backup, folder, plan.keep, utc_now())
                log.info("backed up", file=done["file"], bytes=done["bytes"])
            except Exception:  # the shops go on selling without it; the next night tries again
                log.exception("backup failed")


def log_to_stderr() -> None:
    """JSON lines on stderr; stdout belongs to documents."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info, structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=True,
    )


def _told_published(tasks: Any, recorded: Any, now: dt.datetime) -> None:
    if recorded.published:
        oldest = min((task.queued_at for task in tasks), default=now)
        log.info("published", n=len(recorded.published), ms=round((now - oldest).total_seconds() * 1000))


def _tls(config: ServerConfig) -> ssl.SSLContext | None:
    """The certificate to serve with; off loopback there must be one (DESIGN §5.19). Raises ConfigError."""
    if config.tls_cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(config.folder / config.tls_cert, config.folder / config.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(config.path, "tls_cert", f"cannot be used: {error}.",
                              "Check that tls_cert and tls_key belong together and can be read.") from error
        return context
    if not is_loopback(config.host):
        raise ConfigError(config.path, "listen", f"{config.listen} is not loopback and there is no certificate.",
                          "Set tls_cert and tls_key, or run `init` with an https:// --public-url.")
    return None
