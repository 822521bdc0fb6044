"""A till in this process for tests: the real agent's capture, journals, full states and outbox, without its loops."""

import datetime as dt
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from tillbridge_agent.capture import Capture, Captured, prepare_copies
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.uplink import Uplink
from tillbridge_agent.evaluate import open_rows
from tillbridge_agent.fullstate import FullStates
from tillbridge_agent.journals import Journals
from tillbridge_agent.sources.folder import Seen, list_folder
from tillbridge_agent.store import captures, outbox
from tillbridge_agent.store.captures import Known
from tillbridge_agent.store.database import AgentStore
from tillbridge_agent.store.outbox import Sender
from tillbridge_agent.sync import BatchLane
from tillbridge_protocol.changes import FeedInfo, FrozenBatch

NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
STOCK = {
    "name": "stock", "numbering": "pos",
    "source": {"type": "folder", "path": "export", "pattern": "STOCK*.CSV", "settle_s": 0.1},
    "reader": {"format": "delimited", "separator": ";", "encodings": ["utf-8"]},
    "mapping": {
        "key": ["ArtNr"], "currency": "CHF", "stock_level": {"on_hand": "Bestand"}, "price": {"list_price": "VK"},
    },
}
SALES = {
    "name": "sales", "numbering": "pos",
    "source": {"type": "folder", "path": "export", "pattern": "SALES*.TXT", "style": "journal"},
    "reader": {"format": "delimited", "separator": ";", "encodings": ["utf-8"]},
    "mapping": {
        "key": ["Beleg"], "code": "ArtNr", "time_zone": "UTC", "sale_line": {"quantity": "Menge", "at": "Zeit"},
    },
}


def feed_of(plain: dict[str, Any], **otherwise: Any) -> FeedConfig:
    """A feed from plain values; what is given otherwise replaces a whole key."""
    return msgspec.convert({**plain, **otherwise}, FeedConfig)


class Till:
    """Files in `folder/export`, state in `folder/state`, and a clock that only moves when it is told to."""

    def __init__(self, folder: Path, feeds: Sequence[FeedConfig] = (), *, location: str = "mallow") -> None:
        """Opens the state that is there, or makes it."""
        self.export, self.state = folder / "export", folder / "state"
        self.copies = self.state / "copies"
        self.export.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(exist_ok=True)
        prepare_copies(self.copies)
        self.now = NOW
        self.feeds = tuple(feeds) or (feed_of(STOCK), feed_of(SALES))
        self.store = AgentStore(self.state / "agent.db")
        self.store.submit(captures.forget_half_sent).result()
        self.lost: list[str] = []
        self.fulls = FullStates(self.store, self.copies, self._open_rows, self.lost.append)
        self.capture = Capture(self.store, self.copies, self.clock)
        self.journals = Journals(self.store, self.clock)
        self.sender = Sender("agent-1", location, {
            feed.name: FeedInfo(numbering=feed.numbering, config=feed.fingerprint, absence=feed.absence)
            for feed in self.feeds
        })
        self.capture.tidy()
        epochs = itertools.count(1)
        unused: Any = None
        self.lane = BatchLane(
            self.store, unused, Uplink(heartbeat_s=15.0), self.fulls, self.sender, unused, Random(1), self.clock,
            new_epoch=lambda: f"epoch-{next(epochs)}",
        )

    def clock(self) -> dt.datetime:
        """What time it is."""
        return self.now

    def close(self) -> None:
        """End, as a stopped agent does."""
        self.store.close()

    # -- files ---------------------------------------------------------------------------------------------------

    def write(self, name: str, text: str, *, at: dt.datetime | None = None) -> None:
        """A file in the export folder, written at `at` (now)."""
        path = self.export / name
        path.write_bytes(text.encode())
        instant = (at or self.now).timestamp()
        os.utime(path, (instant, instant))

    def seen(self, name: str) -> Seen:
        """The file as a listing shows it."""
        return next(one for one in list_folder(self.export, "*") if one.name == name)

    def take(self, name: str = "STOCK.CSV", feed: str = "stock") -> Captured:
        """Capture a settled file."""
        return self.capture.take(self.feed(feed), self.seen(name), None, 3600.0)

    def read_on(self, name: str = "SALES.TXT") -> int:
        """Read what is new in a journal; returns how many events."""
        return self.journals.take(self.feed("sales"), self.seen(name))

    def feed(self, name: str) -> FeedConfig:
        """The feed of this name."""
        return next(feed for feed in self.feeds if feed.name == name)

    # -- sending -------------------------------------------------------------------------------------------------

    async def next_batch(self) -> FrozenBatch | None:
        """The batch in flight, or the next one, as the batch lane freezes it."""
        await self.store.run(outbox.ensure_epoch, self.lane.new_epoch())
        return await self.lane.next_batch()

    def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """A store function in its own transaction."""
        return self.store.submit(call, *args, **kwargs).result()

    def _open_rows(self, known: Known, path: Path) -> Any:
        return open_rows(msgspec.json.decode(known.config, type=FeedConfig), path, known.encoding)
