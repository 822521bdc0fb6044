"""The batch lane and the mailbox as loops: performs what core/uplink decides, one request at a time per lane."""

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import structlog

from tillbridge_agent import crash
from tillbridge_agent.core.uplink import Beat, NewEpoch, SendNext, Settle, Uplink, Wait
from tillbridge_agent.errors import TryLater
from tillbridge_agent.fullstate import FullStates
from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.store.outbox import Sender
from tillbridge_agent.transport import Transport
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat
from tillbridge_protocol.mailbox import Body, Mail, Poll, decode_body
from tillbridge_protocol.positions import Ack, ErrorAnswer, Position, Resync

log = structlog.get_logger()
POLL_RETRY_S = 5.0


@dataclass
class BatchLane:
    """Sends batches and heartbeats; `wake` is called after each capture."""

    store: AgentStore
    transport: Transport
    uplink: Uplink
    fulls: FullStates
    sender: Sender
    heartbeat: Callable[[], Awaitable[Heartbeat]]
    rng: Random
    clock: Callable[[], dt.datetime]
    last_ack_at: dt.datetime | None = None
    error: str | None = None
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """New changes are queued."""
        self._woken.set()

    async def run(self) -> None:
        """For ever: send what waits, beat when nothing does, back off when nobody answers."""
        while True:
            self._woken.clear()
            backlog = await self.store.run(outbox.backlog)
            command = self.uplink.next(time.monotonic(), waiting=backlog.waiting)
            if isinstance(command, SendNext):
                await self._send_next()
            elif isinstance(command, Beat):
                await self._beat()
            else:
                await self._wait(command)

    async def _wait(self, command: Wait) -> None:
        if not command.wakes:
            await asyncio.sleep(command.seconds)
            return
        try:
            await asyncio.wait_for(self._woken.wait(), command.seconds)
        except TimeoutError:
            return

    async def _send_next(self) -> None:
        position = await self.store.run(outbox.ensure_epoch, new_epoch())
        batch = await self.store.run(outbox.in_flight) or await self._freeze()
        if batch is None:
            await asyncio.sleep(0)
            return
        started = time.perf_counter()
        try:
            answer = await self.transport.send_batch(batch, position)
        except TryLater as error:
            self._failed(error)
            return
        await self._answered(answer, position, batch)
        if isinstance(answer, Ack):
            log.info("synced", seq=batch.seq, ms=round((time.perf_counter() - started) * 1000), dead=len(answer.dead))

    async def _freeze(self) -> FrozenBatch | None:
        """The next batch: queued state, else a part of a full state, else events."""
        now = self.clock().isoformat()
        batch = await self.store.run(outbox.freeze_changes, self.sender, now)
        if batch is None and (part := await self.fulls.next_part()) is not None:
            batch = await self.store.run(outbox.freeze_part, self.sender, part, now)
            if part.last:
                self.fulls.finished(part.feed)
        crash.reach("freeze.committed")
        return batch

    async def _beat(self) -> None:
        position = await self.store.run(outbox.ensure_epoch, new_epoch())
        try:
            answer = await self.transport.heartbeat(await self.heartbeat(), position)
        except TryLater as error:
            self._failed(error)
            return
        await self._answered(answer, position, None)

    async def _answered(self, answer: object, position: Position, batch: FrozenBatch | None) -> None:
        assert isinstance(answer, Ack | Resync | ErrorAnswer) or hasattr(answer, "durable_seq")
        outcome = self.uplink.answered(
            time.monotonic(), answer, position=position, in_flight=batch, rng=self.rng,  # type: ignore[arg-type]
        )
        if isinstance(answer, ErrorAnswer):
            self.error = f"{answer.message} {answer.hint}"
            log.warning("refused", code=answer.code, message=answer.message)
            return
        self.error = None
        if isinstance(outcome, Settle):
            await self.store.run(outbox.settle, outcome.ack)
            self.last_ack_at = self.clock()
            crash.reach("ack.committed")
        elif isinstance(outcome, NewEpoch):
            log.warning("new epoch", reason=outcome.reason)
            self.fulls.restart()
            await self.store.run(outbox.start_epoch, new_epoch())
            crash.reach("resync.committed")
        elif not isinstance(answer, Ack | Resync):
            await self.store.run(outbox.forget_durable, position.epoch, getattr(answer, "durable_seq", 0))

    def _failed(self, error: TryLater) -> None:
        self.uplink.failed(time.monotonic(), self.rng)
        self.error = str(error)
        log.warning("no answer", message=error.message)


@dataclass
class MailLane:
    """The long poll: hands every message to `deal`, and names what was dealt with in the next poll."""

    store: AgentStore
    transport: Transport
    deal: Callable[[Body], Awaitable[bool]]
    done: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """For ever; a dead line costs nothing but waiting."""
        while True:
            position = await self.store.run(outbox.ensure_epoch, new_epoch())
            try:
                mail = await self.transport.poll(Poll(done=self.done), position)
            except TryLater:
                await asyncio.sleep(POLL_RETRY_S)
                continue
            if not isinstance(mail, Mail):
                await asyncio.sleep(POLL_RETRY_S)
                continue
            self.done = []
            for message in mail.messages:
                body = decode_body(message.body)
                try:
                    if body is not None and await self.deal(body):
                        self.done.append(message.id)
                except ProtocolError as error:
                    log.warning("mail not dealt with", message=message.id, reason=error.message)
            if mail.messages and not self.done:
                await asyncio.sleep(POLL_RETRY_S)


def new_epoch() -> str:
    """A fresh random epoch id."""
    return secrets.token_hex(8)
