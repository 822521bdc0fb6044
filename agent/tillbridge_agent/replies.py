"""Reads what the till writes back: settled answer files, each version once, and the steps that follow from them."""

import asyncio
import datetime as dt
import hashlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tillbridge_agent import crash
from tillbridge_agent.core.settle import Settling
from tillbridge_agent.errors import AgentError
from tillbridge_agent.imports import Answer, AnswersConfig, read_answers
from tillbridge_agent.sources.folder import Seen, list_folder, open_shared
from tillbridge_agent.store import order_answers
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.store.order_answers import Said

log = structlog.get_logger()
#: An answer file holds lines, not catalogues.
BYTES_MAX = 8 * 1024 * 1024


@dataclass
class Replies:
    """The answers folder of one till; nothing in it is changed or deleted by us."""

    config: AnswersConfig
    store: AgentStore
    executor: Executor
    clock: Callable[[], dt.datetime]
    _settling: Settling = field(init=False)

    def __post_init__(self) -> None:
        self._settling = Settling(self.config.settle_s)

    async def look(self) -> bool:
        """Read every settled file; True when an order moved.

        Raises OSError when the folder or one of its files cannot be read; every other file was read by then.
        """
        loop = asyncio.get_running_loop()
        folder = Path(self.config.path)
        listing = await loop.run_in_executor(self.executor, list_folder, folder, self.config.pattern)
        look = self._settling.look([(seen.name, seen.signature) for seen in listing], time.monotonic())
        moved, unread = 0, None
        for seen in [seen for seen in listing if seen.name in look.settled]:
            try:
                data = await loop.run_in_executor(self.executor, _read, seen)
            except OSError as error:
                data, unread = None, error
            if data is None:
                self._settling.wait(seen.name, time.monotonic())
                continue
            moved += await self._take_or_set_aside(seen.name, data)
            self._settling.done(seen.name, seen.signature)
        if unread is not None:
            raise unread
        return moved > 0

    async def _take_or_set_aside(self, name: str, data: bytes) -> int:
        """One file; what makes the agent itself fail must not stop the files after it, nor the agent."""
        try:
            return await self._take(name, data)
        except (AgentError, OSError, sqlite3.Error):
            raise
        except Exception as error:
            log.exception("answers set aside", file=name)
            problem = f"It made the agent fail ({type(error).__name__}). Nothing of it was used; send us the file."
            await self.store.run(
                order_answers.take, name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data), said=[],
                problems=[problem], text="", now=self.clock().isoformat(),
            )
            return 0

    async def _take(self, name: str, data: bytes) -> int:
        sha256 = hashlib.sha256(data).hexdigest()
        if await self.store.run(order_answers.known, sha256, name):
            return 0
        old = await self._read_before(name, data)
        found = [one for one in read_answers(self.config, data) if one.line not in old]
        crash.reach("answer.read")
        said = [Said(one.order, one.state, one.message, one.line) for one in found if isinstance(one, Answer)]
        problems = [f"Line {one.line}: {one.message}" for one in found if not isinstance(one, Answer)]
        if len(data) >= BYTES_MAX:
            problems.append(f"The file has more than {BYTES_MAX:,} bytes; only the beginning was read.")
        moved = await self.store.run(
            order_answers.take, name=name, sha256=sha256, size=len(data), said=said, problems=problems,
            text=data.decode(self.config.encoding, "replace"), now=self.clock().isoformat(),
        )
        crash.reach("answer.taken")
        log.info("answers read", file=name, answers=len(said), odd=len(problems), moved=moved)
        return moved

    async def _read_before(self, name: str, data: bytes) -> set[int]:
        """The lines of this file that were dealt with when it was shorter: what it said once is not said again."""
        for sha256, size in await self.store.run(order_answers.versions, name):
            if size <= len(data) and hashlib.sha256(data[:size]).hexdigest() == sha256:
                before = read_answers(self.config, data[:size])
                return {one.line for one in before if isinstance(one, Answer) or one.code != "answer_cut"}
        return set()


def _read(seen: Seen) -> bytes | None:
    """The content, or None when the file changed or went while it was read: it has to settle again."""
    try:
        with open_shared(seen.path) as file:
            data = file.read(BYTES_MAX)
            after = seen.path.lstat()
    except FileNotFoundError:
        return None
    return data if (after.st_size, after.st_mtime_ns) == (seen.size, seen.mtime_ns) else None
