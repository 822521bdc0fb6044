"""Places web orders one at a time: performs what core/placement decides from the evidence, and looks again.

Every step leaves its evidence before the next one begins, so that a crash at any moment is recovered from by
looking. Folders are worked on in one thread; OSError and TryLater mean that everything waits.
"""

import asyncio
import contextlib
import datetime as dt
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from tillbridge_agent import crash
from tillbridge_agent.core.placement import DOUBT_REASONS, Do, Evidence, Next, next_step
from tillbridge_agent.errors import TryLater
from tillbridge_agent.imports import OrdersConfig, Unwritable, render
from tillbridge_agent.imports.place import DropFolder
from tillbridge_agent.store import orders, outbox
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.troubles import Troubles
from tillbridge_protocol.orders import (
    EXPIRED,
    NEVER_PLACE,
    PUBLISHED,
    READY,
    RECEIVED,
    REJECTED,
    TAKEN,
    UNCERTAIN,
    Order,
)

log = structlog.get_logger()
#: Reserve, mark, spool, move; and each once more after something came in between.
_STEPS_MAX = 8
_BUSY_S = 5.0
_NAME_TAKEN = "name_taken "
_FAILED_S = 60.0
#: The spool of this import folder was made once; it is not made anew should it vanish.
_FOLDER = "orders_folder"


@dataclass
class Placing:
    """The import folder of one till and the orders on their way into it; `life` names this process."""

    store: AgentStore
    config: OrdersConfig
    folder: DropFolder
    executor: Executor
    clock: Callable[[], dt.datetime]
    send: Callable[[], None]
    life: str
    troubles: Troubles
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> None:
        """See what the till has taken, then place what may be placed. Raises OSError, TryLater."""
        await self.on_folder(lambda: None)
        for row in await self.store.run(orders.published):
            if row["file"] and not await self._run(self.folder.present, row["file"]):
                await self._step(row, TAKEN)
                crash.reach("order.taken")
        if await self.store.run(orders.permit, self.life):
            waiting = await self.store.run(orders.to_place)
            taken = {_NAME_TAKEN + row["id"] for row in waiting if await self._try(row["id"], row["revision"])}
            self.troubles.over(_NAME_TAKEN, but=taken)

    async def on_folder(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run something on the import folder, which is made ready first. Raises OSError, TryLater."""
        known = await self.store.run(outbox.meta, _FOLDER) == str(self.folder.spool)
        await self._run(lambda: self.folder.prepare(known=known))
        if not known:
            await self.store.run(outbox.put_meta, _FOLDER, str(self.folder.spool))
        return await self._run(call, *args)

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While no order is just being placed. Raises TryLater when the folder does not let go."""
        try:
            await asyncio.wait_for(self._lock.acquire(), _BUSY_S)
        except TimeoutError as error:
            raise TryLater("An order is just being placed, and the import folder does not answer.",
                           "Try again when the folder is reachable.") from error
        try:
            yield
        finally:
            self._lock.release()

    async def tidy(self) -> None:
        """Delete spool files of orders that are not placed any more. Raises OSError."""
        for order, revision in await self._run(self.folder.spooled):
            row = await self.store.run(orders.one, order, revision)
            if row is not None and row["state"] in NEVER_PLACE and row["state"] != UNCERTAIN:
                await self._run(self.folder.drop_spool, order, revision)

    async def _try(self, order: str, revision: int) -> bool:
        """Place one order; one that makes the agent itself fail must not stop the others, nor the agent."""
        try:
            return await self._place(order, revision)
        except (OSError, TryLater, sqlite3.Error):
            raise
        except Exception as error:
            log.exception("order not placed", order=order)
            self.troubles.tell(
                f"order_failed {order}", f"Order {order} made the agent fail: {type(error).__name__}: {error}",
                "It is tried again. Send us this message; key the order in and mark it if it cannot wait.",
                for_s=_FAILED_S,
            )
            return False

    async def _place(self, order: str, revision: int) -> bool:
        """Go on with one order as far as the evidence allows; True when it waits for its name to be free."""
        async with self._lock:
            for _ in range(_STEPS_MAX):
                row = await self.store.run(orders.one, order, revision)
                waits = await self.store.run(orders.waits, self.life)
                if row is None or row["state"] not in (RECEIVED, READY) or not waits.told:
                    break
                seen = await self._run(self.folder.look, order, revision, row["file"])
                others = {one["file"] for one in await self.store.run(orders.published)}
                if seen.final is None and row["file"] in others:
                    seen = replace(seen, final="of another order")
                held = orders.order_of(row)
                own = orders.own_of(row, late=held is not None and held.not_after < self.clock())
                then = next_step(own, seen) if held is not None else Next(Do.DOUBT, "restored")
                if then.do is Do.WAIT or (then.do is Do.MOVE and not await self._move(row)):
                    self._name_taken(row)
                    return True
                if then.do is Do.MOVE or not await self._perform(then, row, held, seen):
                    break
        return False

    async def _perform(self, then: Next, row: Mapping[str, Any], held: Order | None, seen: Evidence) -> bool:
        """One step; True when there may be another one at once."""
        if then.do is Do.DOUBT or held is None:
            await self._step(row, UNCERTAIN, code=then.code, message=DOUBT_REASONS[then.code])
        elif then.do is Do.EXPIRE:
            await self._step(row, EXPIRED, code=then.code, message=f"It should have been placed by {held.not_after}.")
        elif then.do is Do.PUBLISH:
            await self._was_published(row, seen)
        else:
            return await self._towards_ready(then, row, held)
        return False

    async def _towards_ready(self, then: Next, row: Mapping[str, Any], held: Order) -> bool:
        order, revision = row["id"], row["revision"]
        if then.do is Do.MARK:
            with contextlib.suppress(FileExistsError):  # somebody else was faster; what stands in it says who
                await self._run(
                    lambda: self.folder.mark(order, revision, nonce=row["nonce"], sequence=row["sequence"],
                                             file=row["file"], sha256=row["sha256"])
                )
            return True
        sequence = row["sequence"] or await self.store.run(orders.next_sequence)
        try:
            rendered = render(self.config, held, sequence=sequence)
        except Unwritable as error:
            await self._step(row, REJECTED, code=error.code, message=f"{error.message} {error.hint}")
            return False
        if then.do is Do.RESERVE:
            done = await self.store.run(
                orders.reserve, self.life, order, revision, nonce=secrets.token_hex(8), sequence=sequence,
                file=rendered.name,
            )
            crash.reach("order.reserved")
            return done
        sha256 = await self._run(self.folder.write_spool, order, revision, rendered.body)
        done = await self.store.run(
            orders.ready, self.life, order, revision, self._now(), file_sha256=sha256,
            message=" ".join(rendered.notes),
        )
        crash.reach("order.ready")
        return done

    async def _move(self, row: Mapping[str, Any]) -> bool:
        """Move the file into the import folder; False when another one has its name."""
        try:
            await self._run(self.folder.move, row["id"], row["revision"], row["file"], row["file_sha256"])
        except FileExistsError:
            return False
        await self._step(row, PUBLISHED)
        crash.reach("order.published")
        log.info("published", order=row["id"], revision=row["revision"], file=row["file"])
        return True

    async def _was_published(self, row: Mapping[str, Any], seen: Evidence) -> None:
        """The file was moved before a crash or a restore; whatever is left in the spool is an old copy."""
        await self._run(self.folder.drop_spool, row["id"], row["revision"])
        await self._run(self.folder.sync)
        mark = (seen.mark.sequence, seen.mark.file) if seen.mark is not None and seen.mark.file else None
        await self._step(row, PUBLISHED, mark=mark)
        crash.reach("order.published")

    def _name_taken(self, row: Mapping[str, Any]) -> None:
        self.troubles.tell(
            _NAME_TAKEN + row["id"], f"Order {row['id']} waits: a file {row['file']} lies in the import folder.",
            "Start the import at the till; if the file is not for it, take it away.",
        )

    async def _step(self, row: Mapping[str, Any], state: str, **words: Any) -> None:
        """One of our own steps, told at once."""
        await self.store.run(orders.step, row["id"], row["revision"], state, self._now(), **words)
        self.send()

    async def _run(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.executor, call, *args)

    def _now(self) -> str:
        return self.clock().isoformat()
