"""The batch lane and the mailbox as loops: performs what core/uplink decides, one request at a time per lane."""

import asyncio
import datetime as dt
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import structlog

from tillbridge_agent import crash
from tillbridge_agent.core.uplink import Beat, NewEpoch, SendNext, Settle, Uplink, Wait
from tillbridge_agent.errors import TryLater
from tillbridge_agent.fullstate import FullStates
from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.store.outbox import Sender
from tillbridge_agent.transport import Answer, Transport
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.heartbeat import Heartbeat, HeartbeatAnswer
from tillbridge_protocol.mailbox import Body, Mail, Poll, decode_body
from tillbridge_protocol.orders import OrderStandings
from tillbridge_protocol.positions import Ack, ErrorAnswer, Position, Resync

log = structlog.get_logger()
POLL_RETRY_S = 5.0
#: An import folder must be looked into before standings can be applied, and is not there.
ASK_AGAIN_S = 1.0
#: Every full state that is due waits for its copy to come back; each look reads the export again.
NOTHING_TO_FREEZE_S = 10.0
#: Our own database cannot be written, most often because the disk is full.
LOCAL_TROUBLE_S = 10.0


def new_epoch_id() -> str:
    """A fresh random epoch id."""
    return secrets.token_hex(8)


class Line(Protocol):
    """What a lane asks of the transport; each raises TryLater when no verified answer came."""

    async def send_batch(self, batch: FrozenBatch, position: Position) -> Answer:
        """Send the bytes of a batch."""
        ...

    async def heartbeat(self, heartbeat: Heartbeat, position: Position) -> Answer:
        """Tell how we are."""
        ...

    def renew_boot(self) -> None:
        """Count requests anew under a fresh boot id."""
        ...


@dataclass
class BatchLane:
    """Sends batches and heartbeats; `wake` is called after each capture."""

    store: AgentStore
    transport: Line
    uplink: Uplink
    fulls: FullStates
    sender: Sender
    heartbeat: Callable[[], Awaitable[Heartbeat]]
    rng: Random
    clock: Callable[[], dt.datetime]
    monotonic: Callable[[], float] = time.monotonic
    new_epoch: Callable[[], str] = new_epoch_id
    #: Called when the position has moved: what waits for an ack may go on.
    moved: Callable[[], None] = lambda: None
    last_ack_at: dt.datetime | None = None
    error: str | None = None
    _introduces: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """New changes are queued."""
        self._woken.set()

    def introduce(self) -> None:
        """Head office must know our epoch, also when there is nothing to send: then an empty batch goes."""
        self._introduces = True
        self._woken.set()

    async def run(self) -> None:
        """For ever: send what waits, beat when nothing does, back off when nobody answers."""
        while True:
            self._woken.clear()
            try:
                wait = await self.step()
            except sqlite3.Error as error:
                wait = self._trouble(error)
            if wait is not None:
                await self._wait(wait)

    async def step(self) -> Wait | None:
        """One request at most; returns how long there is nothing to do, or None to be called again."""
        backlog = await self.store.run(outbox.backlog)
        command = self.uplink.next(self.monotonic(), waiting=backlog.waiting or self._introduces)
        if isinstance(command, Wait):
            return command
        if isinstance(command, Beat):
            await self._beat()
        elif isinstance(command, SendNext) and not await self._send_next():
            if self.monotonic() < self.uplink.beat_at:
                return Wait(NOTHING_TO_FREEZE_S, wakes=True)
            await self._beat()
        return None

    async def _wait(self, command: Wait) -> None:
        if not command.wakes:
            await asyncio.sleep(command.seconds)
            return
        try:
            await asyncio.wait_for(self._woken.wait(), command.seconds)
        except TimeoutError:
            return

    async def _send_next(self) -> bool:
        """Send the batch in flight or the next one; False when nothing could be frozen."""
        position = await self.store.run(outbox.ensure_epoch, self.new_epoch())
        batch = await self.next_batch()
        if batch is None:
            return False
        started = self.monotonic()
        try:
            answer = await self.transport.send_batch(batch, position)
        except TryLater as error:
            self._failed(error)
            return True
        await self._answered(answer, position, batch)
        if isinstance(answer, Ack):
            log.info("synced", seq=batch.seq, ms=round((self.monotonic() - started) * 1000), dead=len(answer.dead))
        return True

    async def next_batch(self) -> FrozenBatch | None:
        """The batch in flight, or else the next one, frozen now; None when nothing can be."""
        return await self.store.run(outbox.in_flight) or await self._freeze()

    async def _freeze(self) -> FrozenBatch | None:
        """The next batch: queued state, else a part of a full state, else events.

        Events go also while full states are due that cannot be cut now, because their copy is lost.
        """
        now = self.clock().isoformat()
        batch = await self.store.run(outbox.freeze_changes, self.sender, now)
        while batch is None and (part := await self.fulls.next_part()) is not None:
            batch = await self.store.run(outbox.freeze_part, self.sender, part, now)
            if batch is None:
                self.fulls.restart()
            elif part.last:
                self.fulls.finished(part.feed)
        if batch is None:
            batch = await self.store.run(outbox.freeze_changes, self.sender, now, events_wait=False)
        if batch is None and self._introduces:
            batch = await self.store.run(outbox.freeze_nothing, self.sender, now)
        self._introduces = False
        crash.reach("freeze.committed")
        return batch

    async def _beat(self) -> None:
        position = await self.store.run(outbox.ensure_epoch, self.new_epoch())
        try:
            answer = await self.transport.heartbeat(await self.heartbeat(), position)
        except TryLater as error:
            self._failed(error)
            return
        await self._answered(answer, position, None)

    async def _answered(self, answer: Answer, position: Position, batch: FrozenBatch | None) -> None:
        outcome = self.uplink.answered(self.monotonic(), answer, position=position, in_flight=batch, rng=self.rng)
        if isinstance(answer, ErrorAnswer):
            self.error = f"{answer.message} {answer.hint}"
            log.warning("refused", code=answer.code, message=answer.message)
            return
        self.error = None
        if isinstance(outcome, Settle):
            await self.store.run(outbox.settle, outcome.ack)
            self.last_ack_at = self.clock()
            crash.reach("ack.committed")
            self.moved()
        elif isinstance(outcome, NewEpoch):
            log.warning("new epoch", reason=outcome.reason)
            self.fulls.restart()
            self.transport.renew_boot()
            await self.store.run(outbox.start_epoch, self.new_epoch())
            crash.reach("resync.committed")
            self.moved()
        elif isinstance(answer, HeartbeatAnswer):
            await self.store.run(outbox.forget_durable, position.epoch, answer.durable_seq)

    def _trouble(self, error: sqlite3.Error) -> Wait:
        """Nothing was kept of the step that failed; a part already cut is cut again."""
        self.fulls.restart()
        self.error = f"This PC's own database cannot be written: {error}. It is tried again; make room on the disk."
        log.warning("database trouble", error=str(error))
        return Wait(LOCAL_TROUBLE_S, wakes=False)

    def _failed(self, error: TryLater) -> None:
        self.uplink.failed(self.monotonic(), self.rng)
        self.error = str(error)
        log.warning("no answer", message=error.message)


class Asker(Protocol):
    """Who must hear what head office knows of our orders before it may place any."""

    asking: asyncio.Event

    async def asks(self) -> bool:
        """Whether head office must be asked, and can be."""
        ...

    async def apply(self, told: OrderStandings | None, position: Position) -> bool:
        """Take over what it said to this position, None: that it has another one; False: to be asked again soon."""
        ...


@dataclass
class MailLane:
    """The long poll: hands every message to `deal`, and names what was dealt with in the next poll.

    When `orders` asks, a running long poll is given up: what it would have brought comes with the next one.
    """

    store: AgentStore
    transport: Transport
    deal: Callable[[Body], Awaitable[bool]]
    orders: Asker | None = None
    done: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """For ever; a dead line costs nothing but waiting."""
        while True:
            pause = await self.step()
            await asyncio.sleep(pause)

    async def step(self) -> float:
        """One poll and what it brought; returns the seconds to wait before the next."""
        position = await self.store.run(outbox.ensure_epoch, new_epoch_id())
        asks = self.orders is not None and await self.orders.asks()
        try:
            mail = await self._poll(Poll(done=self.done, standings=asks), position)
        except TryLater:
            return POLL_RETRY_S
        if mail is None:
            return 0.0
        if not isinstance(mail, Mail):
            return POLL_RETRY_S
        self.done = []
        applied = not asks or self.orders is None or await self.orders.apply(mail.standings, position)
        await self._deal(mail)
        if mail.messages and not self.done:
            return POLL_RETRY_S
        return 0.0 if applied else ASK_AGAIN_S

    async def _poll(self, poll: Poll, position: Position) -> Mail | Resync | ErrorAnswer | None:
        """The answer, or None when the long poll was given up because there is something to ask."""
        if self.orders is None or poll.standings:
            return await self.transport.poll(poll, position)
        answer = asyncio.ensure_future(self.transport.poll(poll, position))
        asking = asyncio.ensure_future(self.orders.asking.wait())
        try:
            await asyncio.wait([answer, asking], return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            for task in (answer, asking):
                task.cancel()

    async def _deal(self, mail: Mail) -> None:
        for message in mail.messages:
            crash.reach("mail.received")
            body = decode_body(message.body)
            try:
                if body is not None and await self.deal(body):
                    self.done.append(message.id)
                    crash.reach("mail.dealt")
            except Exception:  # it stays in the mailbox; one message must not end the agent at every start
                log.exception("mail not dealt with", message=message.id)
