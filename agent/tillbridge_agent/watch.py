"""Watches the folder of one feed: lists, lets files settle, hands each settled file to the capture thread.

The listing is the truth; a hint only makes the next listing come sooner. A folder that cannot be listed is a
problem to show, never an empty folder.
"""

import asyncio
import contextlib
import datetime as dt
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tillbridge_agent.capture import Capture
from tillbridge_agent.core.feed import FeedConfig, SourceConfig
from tillbridge_agent.core.settle import Look, Settling
from tillbridge_agent.journals import Journals
from tillbridge_agent.sources.folder import ChangedWhileReading, FolderHints, Seen, list_folder

log = structlog.get_logger()
#: Right after a hint a POS is usually still writing; one listing per so many seconds is enough.
HINT_PAUSE_S = 0.02


@dataclass
class FeedWatch:
    """One feed's loop; `state`, `problem` and `pending_since` are for the status page."""

    feed: FeedConfig
    capture: Capture
    journals: Journals
    executor: Executor
    clock: Callable[[], dt.datetime]
    changed: Callable[[], None]
    problem: str = ""
    pending_since: dt.datetime | None = None
    _settling: Settling = field(init=False)
    _hinted: asyncio.Event = field(default_factory=asyncio.Event)
    #: When each file was last listed in the version before; and the latest listing of all.
    _looked_at: dict[str, dt.datetime] = field(default_factory=dict)
    _listed_at: dt.datetime | None = None

    def __post_init__(self) -> None:
        # Journals are read to their last complete row, so nothing is gained by waiting for them to stand still.
        self._settling = Settling(0.0 if self.source.style == "journal" else self.source.settle_s)

    @property
    def source(self) -> SourceConfig:
        """Where the files are."""
        assert self.feed.source is not None, "a running feed has a source"
        return self.feed.source

    def hint(self) -> None:
        """Something happened in the folder."""
        self._hinted.set()

    def look_again(self) -> None:
        """Deal with every file as if it had just come."""
        self._settling.again()
        self._hinted.set()

    async def run(self, hints: FolderHints) -> None:
        """For ever."""
        watching = False
        while True:
            watching = watching or hints.watch(Path(self.source.path), self.hint)
            self._hinted.clear()
            wait_s = await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._hinted.wait()
                    await asyncio.sleep(HINT_PAUSE_S)

    async def _look(self) -> float:
        """One listing and what follows from it; returns seconds until the next."""
        loop = asyncio.get_running_loop()
        listed_at, before = self.clock(), self._listed_at
        try:
            listing = await loop.run_in_executor(None, list_folder, Path(self.source.path), self.source.pattern)
        except OSError as error:
            self._trouble(f"The folder {self.source.path} cannot be listed: {error.strerror or error}. "
                          "The last known state stays. Check that the share is there and may be read.")
            return self.source.poll_s
        self.problem = ""
        now = time.monotonic()
        look = self._settling.look([(seen.name, seen.signature) for seen in listing], now)
        self._note_pending(look)
        for seen in listing:
            # A name that is new was not there at the listing before.
            if before is not None:
                self._looked_at.setdefault(seen.name, before)
        for seen in [seen for seen in listing if seen.name in look.settled]:
            await self._deal(seen)
        for seen in listing:
            if seen.name not in look.pending:
                self._looked_at[seen.name] = listed_at
        self._listed_at = listed_at
        wait_s = self.source.poll_s
        if look.again_at is not None:
            wait_s = min(wait_s, max(look.again_at - time.monotonic(), 0.0))
        return max(wait_s, 0.005)

    async def _deal(self, seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self.source.style == "journal":
                changes = await loop.run_in_executor(self.executor, self.journals.take, self.feed, seen)
                verdict = "accept"
            else:
                looked_at = self._looked_at.get(seen.name)
                stood_s = self._settling.stood_s(seen.name, time.monotonic())
                done = await loop.run_in_executor(
                    self.executor, self.capture.take, self.feed, seen, looked_at, stood_s
                )
                changes, verdict = done.changes, done.verdict
        except ChangedWhileReading:
            self._settling.wait(seen.name, time.monotonic())
            return
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            self._trouble(f"{seen.name} cannot be read or kept now: {reason}. It is tried again.")
            self._settling.wait(seen.name, time.monotonic())
            return
        except Exception as error:
            log.exception("file set aside", feed=self.feed.name, file=seen.name)
            try:
                await loop.run_in_executor(self.executor, self.capture.set_aside, self.feed, seen, error)
            except (OSError, sqlite3.Error, ChangedWhileReading):
                self._settling.wait(seen.name, time.monotonic())
                return
            verdict, changes = "quarantine", 0
        if verdict == "pending":
            self._settling.wait(seen.name, time.monotonic())
            self.pending_since = self.pending_since or self.clock()
            return
        self._settling.done(seen.name, seen.signature)
        if changes or verdict == "accept":
            self.changed()

    def _note_pending(self, look: Look) -> None:
        if not look.pending and not look.settled:
            self.pending_since = None
        elif look.pending and self.source.style != "journal":
            self.pending_since = self.pending_since or self.clock()

    def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("trouble", feed=self.feed.name, problem=problem)
        self.problem = problem
