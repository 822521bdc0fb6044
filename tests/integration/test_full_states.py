"""Full states in parts, while the till goes on: what the server has in the end is what the last export says."""

import asyncio
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.inbox import Inbox, open_inbox
from tests.integration.till import MINUTE, STOCK, Till, feed_of

from tillbridge_agent import fullstate
from tillbridge_agent.store import captures, outbox
from tillbridge_protocol.changes import open_batch
from tillbridge_protocol.positions import Resync

PART = 10


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten changes a part, so that forty variants are several."""
    monkeypatch.setattr(fullstate, "BATCH_CHANGES_MAX", PART)


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """A till that has sent nothing yet and has one export."""
    opened = Till(tmp_path)
    opened.write("STOCK.CSV", export(START))
    assert opened.take().verdict == "accept"
    yield opened
    opened.close()


START = {f"{number:03}": number for number in range(40)}


def export(stock: dict[str, int]) -> str:
    """An export of these items."""
    return "ArtNr;Bestand;VK\n" + "".join(f"{code};{count};9.90\n" for code, count in stock.items())


def accept(till: Till, stock: dict[str, int]) -> None:
    """A minute later this is what the till has."""
    till.now += MINUTE
    till.write("STOCK.CSV", export(stock))
    assert till.take().verdict == "accept"


def counted(stock: dict[str, int]) -> dict[str, Decimal]:
    """As the server would say it."""
    return {code: Decimal(count) for code, count in stock.items()}


async def test_nothing_is_shown_before_the_last_part(till: Till, inbox: Inbox) -> None:
    """The parts wait in the shadow set; the last one swaps it in at once."""
    parts = []
    while True:
        batch = await inbox.take_next(till)
        assert batch is not None
        full = open_batch(batch.body).full
        assert full is not None
        parts.append(full.part)
        if full.last:
            break
        assert inbox.stock() == {}
    assert parts == list(range(8)), "two kinds of forty variants, ten a part"
    assert inbox.stock() == counted(START)


@pytest.mark.parametrize("after", range(9))
async def test_export_in_between(till: Till, inbox: Inbox, after: int) -> None:
    """A new export is accepted after so many parts: a change, a new item, one that is gone."""
    for _ in range(after):
        await inbox.take_next(till)
    now = {**START, "000": 77, "039": 78, "new": 5}
    del now["020"]
    accept(till, now)
    await inbox.take_all(till)
    assert inbox.stock() == counted(now)
    assert not till.run(outbox.backlog).waiting


@pytest.mark.parametrize("after", range(1, 8))
async def test_crash_in_between(till: Till, inbox: Inbox, tmp_path: Path, after: int) -> None:
    """The agent is gone after so many parts and an export that followed: the full state begins again."""
    for _ in range(after):
        await inbox.take_next(till)
    now = {**START, "000": 77}
    accept(till, now)
    till.close()
    again = Till(tmp_path)
    try:
        await inbox.take_all(again)
        assert inbox.stock() == counted(now)
    finally:
        again.close()


async def test_new_epoch_in_between(till: Till, inbox: Inbox) -> None:
    """The server forgot us in the middle of a full state: a new epoch begins from the first part."""
    for _ in range(3):
        await inbox.take_next(till)
    accept(till, {**START, "001": 55})
    till.fulls.restart()
    till.run(outbox.start_epoch, "epoch-x")
    await inbox.take_all(till)
    assert inbox.stock() == counted({**START, "001": 55})


async def test_restored_server(till: Till, inbox: Inbox) -> None:
    """The server knows less than we have acks for: it asks, and gets everything again."""
    await inbox.take_all(till)
    with open_inbox() as restored:
        accept(till, {**START, "002": 44})
        batch = await till.next_batch()
        assert batch is not None
        answer = restored.receive(batch, till.run(outbox.position))
        assert isinstance(answer, Resync)
        till.run(outbox.start_epoch, "epoch-x")
        await restored.take_all(till)
        assert restored.stock() == counted({**START, "002": 44})


async def test_changed_mapping_in_between(till: Till, inbox: Inbox, tmp_path: Path) -> None:
    """A full state is owed twice: the parts cut under the old mapping are thrown away, the new one is sent."""
    till.close()
    mapping: Any = {**STOCK["mapping"], "stock_level": {"on_hand": "VK"}}  # type: ignore[dict-item]
    again = Till(tmp_path, [feed_of(STOCK, mapping=mapping)])
    try:
        await inbox.take_next(again)
        part = await again.fulls.next_part()
        assert part is not None
        again.now += MINUTE
        assert again.take().verdict == "accept", "the same file, read in another way"
        assert again.run(outbox.freeze_part, again.sender, part, again.now.isoformat()) is None
        again.fulls.restart()
        await inbox.take_all(again)
        assert inbox.stock() == {code: Decimal("9.90") for code in START}
    finally:
        again.close()


async def test_capture_while_the_cursor_opens(till: Till, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The begin of a full state and a capture meet: whichever is first in the database, no value is lost."""
    begun, go_on = threading.Event(), threading.Event()
    begin = captures.begin_full

    def slowly(conn: Any, feed: str) -> Any:
        found = begin(conn, feed)
        begun.set()
        assert go_on.wait(30)
        return found

    monkeypatch.setattr(captures, "begin_full", slowly)
    now = {**START, "000": 66}
    sending = asyncio.create_task(inbox.take_next(till))
    await asyncio.to_thread(begun.wait, 30)
    # The store is busy with the begin; the capture queues right behind it, before the cursor knows.
    till.now += MINUTE
    till.write("STOCK.CSV", export(now))
    taking = asyncio.create_task(asyncio.to_thread(till.take))
    go_on.set()
    await asyncio.gather(sending, taking)
    await inbox.take_all(till)
    assert inbox.stock() == counted(now)
