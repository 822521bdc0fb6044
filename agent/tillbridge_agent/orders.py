"""Web orders at the till as a loop: keep what head office sends, have it placed once, watch what the till does.

Nothing is placed before head office has acked that we have the order, nor, after a start or in a new epoch,
before it has said what it knows of our orders (DESIGN §5.7).
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tillbridge_agent import crash
from tillbridge_agent.core.placement import Evidence
from tillbridge_agent.errors import AgentError, TryLater
from tillbridge_agent.identity import Identity
from tillbridge_agent.imports import OrdersConfig
from tillbridge_agent.imports.place import DropFolder
from tillbridge_agent.placing import Placing
from tillbridge_agent.replies import Replies
from tillbridge_agent.sources.folder import FolderHints
from tillbridge_agent.store import order_answers, orders
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.troubles import Troubles
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.mailbox import MarkOrder, PlaceOrder
from tillbridge_protocol.orders import ACCEPTED, CANCELLED, OrderStandings, open_order
from tillbridge_protocol.positions import Position

log = structlog.get_logger()
LOOK_S = 1.0
#: After a hint the till is usually still moving files.
HINT_PAUSE_S = 0.02
_TIDY_S = 3600.0
#: A message that is not dealt with comes again within seconds.
_MAIL_S = 60.0
_DAY_S = 24 * 3600.0
ORDERS_FOLDER, ANSWERS_FOLDER, ORDERS_STORE = "orders_folder", "answers_folder", "orders_store"


class WebOrders:
    """The orders of one till; `wake` it after every ack, ask head office for standings when `asking` is set."""

    def __init__(
        self, store: AgentStore, config: OrdersConfig, identity: Identity, clock: Callable[[], dt.datetime],
        send: Callable[[], None], introduce: Callable[[], None] = lambda: None,
    ) -> None:
        """`clock` is the server's time as far as known; `send` wakes the batch lane, `introduce` begins the epoch."""
        self.config, self.troubles, self.asking = config, Troubles(), asyncio.Event()
        self._store, self._identity, self._clock, self._send = store, identity, clock, send
        self._introduce = introduce
        self._life = secrets.token_hex(8)
        self._keys = {
            key_id: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            for key_id, key in identity.server_keys.items()
        }
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="orders")
        self._folder = DropFolder(Path(config.path), Path(config.spool))
        self._placing = Placing(
            store, config, self._folder, self._executor, clock, send, self._life, self.troubles
        )
        answers = config.answers
        self._replies = None if answers is None else Replies(answers, store, self._executor, clock)
        self._woken = asyncio.Event()
        self._tidied = float("-inf")
        #: Asked there, head office had another position; asking again before ours has moved says nothing new.
        self._vain: Position | None = None

    @property
    def problem(self) -> str:
        """What hinders the placing of orders now, in a sentence; empty when nothing does."""
        return next((one["message"] for one in self.troubles.now()), "")

    def wake(self) -> None:
        """Something may have become possible: an ack came, or something happened in a folder."""
        self._woken.set()

    async def run(self, hints: FolderHints) -> None:
        """For ever."""
        watched: set[str] = set()
        folders = [self.config.path] + ([self.config.answers.path] if self.config.answers else [])
        while True:
            watched |= {folder for folder in folders if folder not in watched and hints.watch(Path(folder), self.wake)}
            self._woken.clear()
            await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
                    await asyncio.sleep(HINT_PAUSE_S)

    def close(self) -> None:
        """Finish what the folders are busy with."""
        self._executor.shutdown()

    async def step(self) -> None:
        """One look at everything: standings, answers, what the till has taken, what may be placed."""
        try:
            if await self._must_ask():
                self.asking.set()
            await self._look(ANSWERS_FOLDER, self._read_answers)
            await self._look(ORDERS_FOLDER, self._placing.look)
            await self._tidy()
        except sqlite3.Error as error:
            self.troubles.tell(ORDERS_STORE, f"Orders wait: this PC's own database cannot be written: {error}.",
                               "Make room on the disk.")
            return
        self.troubles.over(ORDERS_STORE)

    # -- head office -----------------------------------------------------------------------------------------------

    async def asks(self) -> bool:
        """Whether head office must be asked what it knows of our orders, and can be."""
        self.asking.clear()
        return await self._must_ask()

    async def apply(self, told: OrderStandings | None, position: Position) -> bool:
        """Take over what head office knows; None: it has another position than we had. False: ask again soon."""
        if told is None:
            self._vain = position
            if position.seq == 0:
                self._introduce()
            return True
        needed = await self._store.run(orders.evidence_needed, told)
        seen: dict[tuple[str, int], Evidence] = {}
        highest = 0
        try:
            if needed:
                seen, highest = await self._placing.on_folder(self._evidence, needed)
        except (OSError, TryLater) as error:
            self._folder_trouble(ORDERS_FOLDER, error)
            return False
        done = await self._store.run(orders.apply, told, seen, highest, self._life, self._now())
        if done:
            crash.reach("standings.applied")
            log.info("standings", epoch=told.epoch, orders=len(told.orders), looked_at=len(seen))
            self._send()
            self.wake()
        return done

    async def keep(self, mail: PlaceOrder) -> bool:
        """Keep an order of the mailbox as `received`; True when the message is dealt with. Raises TryLater."""
        try:
            order = open_order(mail.order, self._keys)
        except ProtocolError as error:
            return self._refuse(f"order_unsigned {error.code}",
                                f"An order from head office cannot be believed: {error.message}")
        if (order.agent, order.location) != (self._identity.agent, self._identity.location):
            return self._refuse(f"order_elsewhere {order.id}",
                                f"Order {order.id} is for agent {order.agent} at {order.location}, not for this one.")
        content = mail.order.payload.encode()
        async with self._placing.alone():
            kept = await self._store.run(
                orders.keep, order, content, hashlib.sha256(content).hexdigest(), self._now()
            )
        crash.reach("order.received")
        if kept == "conflict":
            self.troubles.tell(
                f"order_conflict {order.id}",
                f"Head office has sent another order under {order.id}, revision {order.revision}.",
                "The second one is never placed. Ask head office to send it anew.", for_s=_DAY_S,
            )
        log.info("order", order=order.id, revision=order.revision, kept=kept)
        self._send()
        return True

    async def marked(self, mail: MarkOrder) -> None:
        """Head office says that an order is in the till, or called off. Raises TryLater."""
        state = CANCELLED if mail.mark == "cancelled" else ACCEPTED
        words = f"Marked {mail.mark} at head office by {mail.by}: {mail.reason}".rstrip(": ")
        async with self._placing.alone():
            moved = await self._store.run(orders.mark_told, mail.order, mail.revision, state, self._now(), words)
        log.info("order marked", order=mail.order, mark=mail.mark, moved=moved)
        self._send()
        self.wake()

    async def mark(self, row: Mapping[str, Any], event: str, words: str) -> str | None:
        """A person at the till says what is so; the new state, None where no step allows it. Raises TryLater."""
        async with self._placing.alone():
            state = await self._store.run(orders.mark, row["id"], row["revision"], event, self._now(), words)
        self._send()
        self.wake()
        return state

    async def _must_ask(self) -> bool:
        """Never told in this life and epoch, and asked at a position that may be head office's own."""
        waits = await self._store.run(orders.waits, self._life)
        return not waits.told and not waits.unacked and waits.position != self._vain

    # -- the rest ----------------------------------------------------------------------------------------------------

    async def _read_answers(self) -> None:
        if self._replies is not None and await self._replies.look():
            self._send()

    async def _tidy(self) -> None:
        """Once an hour: forget what orders held, and spool files that nothing becomes of."""
        now = asyncio.get_running_loop().time()
        if now - self._tidied < _TIDY_S:
            return
        self._tidied = now
        await self._store.run(orders.forget, self._clock())
        await self._store.run(order_answers.forget, self._clock())
        with contextlib.suppress(OSError):
            await self._placing.tidy()

    async def _look(self, what: str, look: Callable[[], Any]) -> None:
        """A look into a folder; while it cannot be reached everything waits, and people are told."""
        try:
            await look()
        except (OSError, TryLater) as error:
            self._folder_trouble(what, error)
            return
        self.troubles.over(what)

    def _evidence(
        self, needed: list[tuple[str, int, str | None]],
    ) -> tuple[dict[tuple[str, int], Evidence], int]:
        """What the folders say of these orders, and the highest number any mark names."""
        seen = {(order, revision): self._folder.look(order, revision, file) for order, revision, file in needed}
        return seen, self._folder.highest_sequence()

    def _now(self) -> str:
        return self._clock().isoformat()

    def _refuse(self, name: str, message: str) -> bool:
        self.troubles.tell(name, message, "It stays at head office and is not placed. Tell head office.", for_s=_MAIL_S)
        return False

    def _folder_trouble(self, what: str, error: AgentError | OSError) -> None:
        if isinstance(error, AgentError):
            self.troubles.tell(what, error.message, error.hint)
            return
        answers = self.config.answers
        where = answers.path if what == ANSWERS_FOLDER and answers is not None else self.config.path
        self.troubles.tell(what, f"The folder {where} cannot be used: {error.strerror or error}.",
                           "Check that the share is there and may be written; orders wait and none is lost.")
