"""Watching a folder: the listing is the truth, and a folder that cannot be listed says nothing at all."""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.inbox import Inbox
from tests.integration.till import MINUTE, SALES, STOCK, Till, feed_of

from tillbridge_agent.store import outbox, setaside
from tillbridge_agent.watch import FeedWatch

FULL = "ArtNr;Bestand;VK\n" + "".join(f"{number:03};5;9.90\n" for number in range(30))


class Watched:
    """A till whose folder is looked at when the test says so; files settle at once."""

    def __init__(self, folder: Path) -> None:
        """One feed of stock and one of sales."""
        source = {"type": "folder", "path": str(folder / "export"), "settle_s": 0.0}
        self.till = Till(folder, [
            feed_of(STOCK, source={**source, "pattern": "STOCK*.CSV"}),
            feed_of(SALES, source={**source, "pattern": "SALES*.TXT", "style": "journal"}),
        ])
        self._executor = ThreadPoolExecutor(1)
        self.woken = 0
        self.stock, self.sales = self.watch("stock"), self.watch("sales")

    def watch(self, feed: str) -> FeedWatch:
        """A watch as a process that has just started has it."""
        till = self.till
        return FeedWatch(till.feed(feed), till.capture, till.journals, self._executor, till.clock, self._wake)

    def write(self, name: str, text: str) -> None:
        """A minute later this file is there."""
        self.till.now += MINUTE
        self.till.write(name, text)

    def waiting(self) -> int:
        """Whether something waits to be sent."""
        found = self.till.run(outbox.backlog)
        return int(found.changes + found.events + found.fulls)

    def _wake(self) -> None:
        self.woken += 1

    def close(self) -> None:
        """End."""
        self._executor.shutdown()
        self.till.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A watched till with one believed export."""
    opened = Watched(tmp_path)
    yield opened
    opened.close()


async def test_share_vanishes_and_comes_back(watched: Watched, inbox: Inbox) -> None:
    """It is told as a problem; nothing is gone, and the next export is taken as if nothing had been."""
    watched.write("STOCK.CSV", FULL)
    await watched.stock._look()
    await inbox.take_all(watched.till)
    away = watched.till.export.with_name("away")
    watched.till.export.rename(away)
    await watched.stock._look()
    assert "cannot be listed" in watched.stock.problem
    assert not watched.waiting()
    away.rename(watched.till.export)
    await watched.stock._look()
    assert watched.stock.problem == ""
    assert not watched.waiting()
    watched.write("STOCK.CSV", FULL.replace("000;5;", "000;4;"))
    await watched.stock._look()
    await inbox.take_all(watched.till)
    assert inbox.stock()["000"] == Decimal(4)
    assert len(inbox.stock()) == 30


async def test_empty_folder_says_nothing(watched: Watched, inbox: Inbox) -> None:
    """The mount point without its share is an empty folder: no file is no news."""
    watched.write("STOCK.CSV", FULL)
    await watched.stock._look()
    await inbox.take_all(watched.till)
    (watched.till.export / "STOCK.CSV").unlink()
    await watched.stock._look()
    assert not watched.waiting()
    assert len(inbox.stock()) == 30


async def test_each_state_of_a_file_once(watched: Watched) -> None:
    """Looked at again it is left alone; the lane is woken when there is something to send."""
    watched.write("STOCK.CSV", FULL)
    await watched.stock._look()
    await watched.stock._look()
    assert watched.till.run(outbox.counters)["files_accepted"] == 1
    assert watched.woken == 1


async def test_restart_with_old_files_lying_about(watched: Watched, inbox: Inbox) -> None:
    """Yesterday's exports beside today's: only the newest is believed, by this process and by the next."""
    for number in range(3):
        watched.write(f"STOCK-{number}.CSV", FULL.replace("000;5;", f"000;{number};"))
    await watched.stock._look()
    await inbox.take_all(watched.till)
    assert inbox.stock()["000"] == Decimal(2)
    await watched.watch("stock")._look()
    await inbox.take_all(watched.till)
    assert inbox.stock()["000"] == Decimal(2)


async def test_other_files_are_not_touched(watched: Watched) -> None:
    """What does not fit the pattern, folders and links are left alone."""
    export = watched.till.export
    (export / "README.TXT").write_text("hello", encoding="utf-8")
    (export / "STOCK-ARCHIVE.CSV").mkdir()
    outside = export.parent / "secret.csv"
    outside.write_text(FULL, encoding="utf-8")
    (export / "STOCK-LINK.CSV").symlink_to(outside)
    before = sorted(path.name for path in export.iterdir())
    await watched.stock._look()
    assert not watched.waiting()
    assert sorted(path.name for path in export.iterdir()) == before


async def test_half_written_is_pending(watched: Watched) -> None:
    """It stands still in the middle of a row: not believed, not refused, and told since when."""
    watched.write("STOCK.CSV", FULL)
    await watched.stock._look()
    watched.write("STOCK.CSV", FULL[: FULL.index("015;") + 3])
    await watched.stock._look()
    assert watched.stock.pending_since == watched.till.now
    assert watched.till.run(setaside.holds) == []
    watched.write("STOCK.CSV", FULL.replace("000;5;", "000;4;"))
    await watched.stock._look()
    await watched.stock._look()
    assert watched.stock.pending_since is None
    assert watched.till.run(outbox.counters)["files_accepted"] == 2


async def test_file_that_cannot_be_read_now(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock or a dead share while copying: a problem that is told, and the same file is tried again."""
    watched.write("STOCK.CSV", FULL)
    take = watched.till.capture.take

    def locked(*arguments: Any) -> Any:
        raise PermissionError(13, "sharing violation")

    monkeypatch.setattr(watched.till.capture, "take", locked)
    await watched.stock._look()
    assert "sharing violation" in watched.stock.problem
    monkeypatch.setattr(watched.till.capture, "take", take)
    await watched.stock._look()
    assert watched.stock.problem == ""
    assert watched.till.run(outbox.counters)["files_accepted"] == 1


async def test_look_again(watched: Watched) -> None:
    """Head office or a retry asks: the file is judged as if it had just come."""
    (watched.till.export / "STOCK.CSV").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 4)
    await watched.stock._look()
    [entry] = watched.till.run(setaside.quarantine)
    watched.till.run(setaside.close_quarantined, entry["id"], "retried")
    await watched.stock._look()
    assert watched.till.run(setaside.quarantine) == []
    watched.stock.look_again()
    await watched.stock._look()
    assert [one["id"] for one in watched.till.run(setaside.quarantine)] == [entry["id"]]


async def test_journal_beside_the_export(watched: Watched, inbox: Inbox) -> None:
    """A journal is read on at every look, without waiting for it to stand still."""
    text = "Beleg;ArtNr;Menge;Zeit\n"
    for number in range(3):
        text += f"R{number};000;1;2026-11-23 08:00:00\n"
        watched.write("SALES.TXT", text)
        await watched.sales._look()
    await inbox.take_all(watched.till)
    assert set(inbox.ledger()) == {"R0", "R1", "R2"}


# -- when a count was true --------------------------------------------------------------------------------------------

async def as_of(watched: Watched) -> tuple[str, str]:
    """The interval of the last accepted file."""
    row = watched.till.run(lambda conn: conn.execute("SELECT as_of_from, as_of_to FROM feed").fetchone())
    return row["as_of_from"], row["as_of_to"]


async def test_not_before_the_last_look_at_the_version_before(watched: Watched) -> None:
    """The count may be as old as the listing that still showed the old file, not as the end of that look."""
    watched.till.now += MINUTE
    looked = watched.till.now
    await watched.stock._look()
    watched.write("STOCK.CSV", FULL.replace("007;5", "007;4"))
    await watched.stock._look()
    assert await as_of(watched) == (looked.isoformat(), watched.till.now.isoformat())


async def test_a_new_name_was_not_there_at_the_listing_before(watched: Watched) -> None:
    """Each export has a name of its own: it was begun after the last listing without it."""
    watched.till.now += MINUTE
    looked = watched.till.now
    await watched.stock._look()
    watched.write("STOCK2.CSV", FULL.replace("007;5", "007;4"))
    await watched.stock._look()
    assert (await as_of(watched))[0] == looked.isoformat()


async def test_a_new_process_has_not_looked(watched: Watched) -> None:
    """It knows when the version before was settled; with a lost database not even that, and goes back an hour."""
    watched.write("STOCK.CSV", FULL)
    await watched.stock._look()
    settled = (await as_of(watched))[1]
    watched.write("STOCK.CSV", FULL.replace("007;5", "007;4"))
    await watched.watch("stock")._look()
    assert (await as_of(watched))[0] == settled
    watched.till.run(lambda conn: conn.execute("DELETE FROM feed"))
    await watched.watch("stock")._look()
    assert (await as_of(watched))[0] == (watched.till.now - 60 * MINUTE).isoformat()


async def test_a_till_that_counts_before_it_writes(watched: Watched) -> None:
    """So many seconds earlier, as the feed says."""
    plain = watched.till.feed("stock")
    assert plain.source is not None
    source = msgspec.structs.replace(plain.source, counted_before_s=90.0)
    watched.till.feeds = (msgspec.structs.replace(plain, source=source), watched.till.feed("sales"))
    watch = watched.watch("stock")
    watched.till.now += MINUTE
    looked = watched.till.now
    await watch._look()
    watched.write("STOCK.CSV", FULL.replace("007;5", "007;4"))
    await watch._look()
    assert (await as_of(watched))[0] == (looked - dt.timedelta(seconds=90)).isoformat()
