"""What must not stop an agent: lost and damaged copies, a full disk, feeds that are configured no more, odd mail."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from tests.integration.inbox import Inbox
from tests.integration.till import MINUTE, SALES, STOCK, Till, feed_of

from tillbridge_agent.app import _open_store
from tillbridge_agent.core.uplink import Uplink
from tillbridge_agent.errors import ConfigError, Refused
from tillbridge_agent.sources.folder import Seen, stage
from tillbridge_agent.store import outbox, setaside
from tillbridge_agent.sync import BatchLane, MailLane
from tillbridge_protocol.changes import FrozenBatch, open_batch
from tillbridge_protocol.heartbeat import Heartbeat, HeartbeatAnswer
from tillbridge_protocol.mailbox import Body, LookAgain, Mail, Message, Poll
from tillbridge_protocol.positions import Position

FULL = {f"{number:03}": 10 for number in range(40)}
HALF = {code: count for code, count in FULL.items() if code < "020"}


def text(stock: dict[str, int]) -> str:
    """An export of these items."""
    return "ArtNr;Bestand;VK\n" + "".join(f"{code};{count};9.90\n" for code, count in stock.items())


def later(till: Till, content: str, name: str = "STOCK.CSV") -> str:
    """A minute later this export is there and settled; what became of it."""
    till.now += MINUTE
    till.write(name, content)
    return till.take(name).verdict


def copies(till: Till) -> list[Path]:
    """The copies that are kept."""
    return sorted(till.copies.iterdir())


# -- the disk does not fill ------------------------------------------------------------------------------------


def test_holds_of_a_weekend(till: Till) -> None:
    """Every export is held and nobody is there: the newest wait with their copies, the oldest are gone."""
    later(till, text(FULL))
    for count in range(setaside.HOLDS_OPEN_MAX + 5):
        assert later(till, text({**HALF, "000": count})) == "hold"
    held = till.run(setaside.holds)
    assert len(held) == setaside.HOLDS_OPEN_MAX
    assert max(hold["since"] for hold in held) == till.now.isoformat()
    assert len(copies(till)) == setaside.HOLDS_OPEN_MAX + 1


def test_broken_exports_of_a_weekend(till: Till) -> None:
    """Every export is unreadable: the newest stay in quarantine with their copies."""
    for count in range(setaside.FILES_OPEN_MAX + 5):
        assert later(till, f"PK\x03\x04\0{count}") == "quarantine"
    assert len(till.run(setaside.quarantine)) == setaside.FILES_OPEN_MAX
    assert len(copies(till)) == setaside.FILES_OPEN_MAX


def test_files_that_say_nothing_leave_no_copy(till: Till) -> None:
    """Empty and half-written files are not kept: they come again."""
    later(till, text(FULL))
    for count in range(3):
        assert later(till, "\n" * count) == "nothing"
        assert later(till, text(FULL) + f"999;{count}") == "pending"
    assert len(copies(till)) == 1


def test_a_held_sample_is_short(till: Till) -> None:
    """Samples travel with every heartbeat: a title of a megabyte would make it too large for ever."""
    mapping = {**STOCK["mapping"], "product": {"title": "VK"}}
    till.feeds = (feed_of(STOCK, mapping={key: mapping[key] for key in ("key", "product")}),)
    later(till, text(FULL).replace("9.90", "x" * 100_000))
    assert later(till, text(HALF)) == "hold"
    [hold] = till.run(setaside.holds)
    assert max(len(one["before"] or "") for one in hold["sample"]) == 200


# -- deciding about a held file ----------------------------------------------------------------------------------


async def test_approved_too_late(till: Till, inbox: Inbox) -> None:
    """Between question and answer a newer export was believed: the held one must not come over it."""
    later(till, text(FULL))
    later(till, text(HALF))
    [hold] = till.run(setaside.holds)
    later(till, text({**FULL, "000": 9}))
    with pytest.raises(Refused, match="closed meanwhile"):
        till.capture.approve(till.feed("stock"), hold, "ana", "")
    await inbox.take_all(till)
    assert len(inbox.stock()) == 40


def test_approved_without_its_copy(till: Till) -> None:
    """Told in words; the next look at the export asks anew."""
    later(till, text(FULL))
    later(till, text(HALF))
    [hold] = till.run(setaside.holds)
    (till.copies / hold["sha256"]).unlink()
    with pytest.raises(Refused, match="lost"):
        till.capture.approve(till.feed("stock"), hold, "ana", "")
    assert later(till, text(HALF)) == "hold"


@pytest.mark.parametrize("content", ["ArtNr;Lager;VK\n001;5;9.90\n", "ArtNr;Bestand;VK\n\xe9;5;9.90\n"])
async def test_put_right_in_the_feed(till: Till, inbox: Inbox, tmp_path: Path, content: str) -> None:
    """Set aside for its column or its encoding: once the feed fits, the same file is taken, and nothing is asked."""
    (till.export / "STOCK.CSV").write_bytes(content.encode("cp1252"))
    assert till.take().verdict in ("hold", "quarantine")
    assert till.take().verdict == "held"
    till.close()
    right = {**STOCK["mapping"], "stock_level": {"on_hand": "Lager" if "Lager" in content else "Bestand"}}
    for feed, verdicts in ((STOCK, ("hold", "quarantine")), ({**STOCK, "mapping": right}, ("accept",))):
        again = Till(tmp_path, [feed_of(feed, reader={**STOCK["reader"], "encodings": ["utf-8", "cp1252"]})
                                if feed is not STOCK else feed_of(feed)])
        try:
            assert again.take().verdict in verdicts
            waiting = len(again.run(setaside.holds)) + len(again.run(setaside.quarantine))
            assert waiting == (0 if "accept" in verdicts else 1)
            await inbox.take_all(again)
        finally:
            again.close()
    assert set(inbox.stock().values()) == {5}


# -- which file is news --------------------------------------------------------------------------------------------


def test_a_file_from_the_future(till: Till) -> None:
    """A till whose clock was years ahead for one night: exports of other names are still news afterwards."""
    till.write("STOCK-1.CSV", text(FULL), at=till.now.replace(year=2031))
    assert till.take("STOCK-1.CSV").verdict == "accept"
    assert later(till, text({**FULL, "000": 1}), "STOCK-2.CSV") == "accept"


def test_a_link_in_the_place_of_a_file(till: Till) -> None:
    """Put there between listing and reading: it is not followed."""
    secret = till.state / "secret"
    secret.write_text("not an export")
    till.write("STOCK.CSV", text(FULL))
    seen = till.seen("STOCK.CSV")
    seen.path.unlink()
    seen.path.symlink_to(secret)
    found = os.stat(secret)
    with pytest.raises(OSError, match="symbolic"):
        stage(Seen(seen.name, seen.path, found.st_size, found.st_mtime_ns, found.st_ino), till.copies)


def test_lost_copy_and_lost_rows(till: Till) -> None:
    """Without the copy the rows cannot be compared, but their number is known."""
    later(till, text(FULL))
    for path in copies(till):
        path.unlink()
    assert later(till, text(HALF)) == "hold"
    [hold] = till.run(setaside.holds)
    assert hold["code"] == "rows_lost"


# -- the batch lane --------------------------------------------------------------------------------------------------


class Line:
    """A line to the server in this process; `beats` counts heartbeats."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox, self.beats = inbox, 0

    async def send_batch(self, batch: FrozenBatch, position: Position) -> Any:
        """To the inbox and back."""
        return self.inbox.receive(batch, position)

    async def heartbeat(self, heartbeat: Heartbeat, position: Position) -> Any:
        """Heard."""
        self.beats += 1
        return HeartbeatAnswer(position.epoch, position.seq, position.head, 0)

    def renew_boot(self) -> None:
        """Nothing to count."""


def lane_of(till: Till, line: Line) -> BatchLane:
    """The real lane of this till on a clock that stands still."""

    async def healthy() -> Heartbeat:
        return Heartbeat("0", till.now, 0, 0, None, [], [], [], 0, {})

    return BatchLane(
        till.store, line, Uplink(heartbeat_s=15.0), till.fulls, till.sender, healthy, Random(1), till.clock,
        monotonic=lambda: 100.0,
    )


async def sent(lane: BatchLane) -> None:
    """Steps until there is nothing to do."""
    for _ in range(50):
        if await lane.step() is not None:
            return
    raise AssertionError("the lane does not come to rest")


async def test_lost_copy_stops_nobody(till: Till, inbox: Inbox) -> None:
    """The full state waits for its export; sale lines and heartbeats go."""
    later(till, text(FULL))
    copies(till)[0].unlink()
    till.write("SALES.TXT", "Beleg;ArtNr;Menge;Zeit\nR1;001;1;2026-11-23 08:00:00\n")
    till.read_on()
    line = Line(inbox)
    await sent(lane_of(till, line))
    assert set(inbox.ledger()) == {"R1"}
    assert line.beats == 1
    assert set(till.lost) == {"stock"}
    assert inbox.stock() == {}


async def test_damaged_copy_counts_as_lost(till: Till, inbox: Inbox) -> None:
    """What was believed once cannot be read any more: the agent goes on, and the export heals it."""
    later(till, text(FULL))
    copies(till)[0].write_bytes(b"\xff\xfe\0\0" * 100)
    line = Line(inbox)
    await sent(lane_of(till, line))
    assert till.lost
    assert inbox.stock() == {}
    assert later(till, text(FULL)) == "nothing"
    await sent(lane_of(till, line))
    assert len(inbox.stock()) == 40


@pytest.mark.parametrize("where", ["freeze_part", "settle", "freeze_changes", "backlog"])
async def test_full_disk_for_a_moment(
    till: Till, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:
    """The loop goes on, and no part of a full state is left out afterwards."""
    later(till, text(FULL))
    right, fails = getattr(outbox, where), iter([True])

    def full(*args: Any, **kwargs: Any) -> Any:
        if next(fails, False):
            raise sqlite3.OperationalError("database or disk is full")
        return right(*args, **kwargs)

    monkeypatch.setattr(outbox, where, full)
    monkeypatch.setattr("tillbridge_agent.sync.LOCAL_TROUBLE_S", 0.0)
    line = Line(inbox)
    running = asyncio.create_task(lane_of(till, line).run())
    async with asyncio.timeout(30):
        while not (line.beats or running.done()):
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert len(inbox.stock()) == 40


async def test_feed_taken_out_of_the_configuration(till: Till, tmp_path: Path) -> None:
    """What is still to be sent of it belongs to its own numbering, not to another one's items."""
    later(till, text(FULL))
    till.run(outbox.remember_feeds, till.sender)
    till.close()
    again = Till(tmp_path, [feed_of(SALES)])
    try:
        again.run(outbox.remember_feeds, again.sender)
        batch = await again.next_batch()
        assert batch is not None
        assert open_batch(batch.body).feeds["stock"].numbering == "pos"
    finally:
        again.close()


def test_database_that_cannot_be_opened(tmp_path: Path) -> None:
    """Damaged, or open in another agent: said in words before anything is touched."""
    database = tmp_path / "agent.db"
    database.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="another place"):
        _open_store(database)


# -- mail ------------------------------------------------------------------------------------------------------------


class Post:
    """Hands out the same two messages until they are done; then waits for ever."""

    def __init__(self) -> None:
        self.done: list[list[str]] = []

    async def poll(self, poll: Poll, position: Position) -> Mail:
        """The mailbox."""
        self.done.append(poll.done)
        if len(self.done) > 1:
            await asyncio.Event().wait()
        look = msgspec.Raw(msgspec.json.encode(LookAgain("stock")))
        odd = msgspec.Raw(msgspec.json.encode(LookAgain("odd")))
        return Mail([Message("m1", odd), Message("m2", look)])


@pytest.fixture
async def post(till: Till) -> AsyncIterator[Post]:
    """A mail lane at work whose first message makes the agent fail."""

    async def deal(body: Body) -> bool:
        if body == LookAgain("odd"):
            raise FileNotFoundError("no such file")
        return True

    opened = Post()
    lane = asyncio.create_task(MailLane(till.store, opened, deal).run())  # type: ignore[arg-type]
    yield opened
    lane.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lane


async def test_mail_that_makes_the_agent_fail(post: Post) -> None:
    """It stays in the mailbox; the other message is dealt with, and the lane lives on."""
    async with asyncio.timeout(30):
        while len(post.done) < 2:
            await asyncio.sleep(0.01)
    assert post.done[1] == ["m2"]
