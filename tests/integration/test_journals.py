"""Append-only journals: complete rows once, whatever the till and the disk do to the file."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from tests.integration.inbox import Inbox
from tests.integration.till import MINUTE, Till

from tillbridge_agent import status
from tillbridge_agent.store import outbox, setaside

HEADER = "Beleg;ArtNr;Menge;Zeit\n"


def line(number: int, quantity: str = "1") -> str:
    """One line of the journal."""
    return f"R{number};1028;{quantity};2026-11-23 08:00:{number % 60:02}\n"


def lines(*numbers: int) -> str:
    """Several of them."""
    return "".join(line(number) for number in numbers)


def append(till: Till, text: str, name: str = "SALES.TXT") -> int:
    """Write this behind what is there and read on; returns how many events were queued."""
    with (till.export / name).open("ab") as file:
        file.write(text.encode())
    return till.read_on(name)


def ids(inbox: Inbox) -> set[str]:
    """Natural ids in the ledger."""
    return set(inbox.ledger())


async def test_only_what_is_new(till: Till, inbox: Inbox) -> None:
    """Each row once; nothing new gives nothing."""
    assert append(till, HEADER + lines(1, 2)) == 2
    assert append(till, "") == 0
    assert append(till, lines(3)) == 1
    await inbox.take_all(till)
    assert ids(inbox) == {"R1", "R2", "R3"}


async def test_torn_tail(till: Till, inbox: Inbox) -> None:
    """A row that has no end yet waits; however it is torn, it is one row in the end."""
    whole, rng = (HEADER + lines(*range(1, 60))).replace("\n", "\r\n"), Random(3)
    at = 0
    while at < len(whole):
        cut = rng.randint(1, 40)
        append(till, whole[at : at + cut])
        at += cut
    await inbox.take_all(till)
    assert ids(inbox) == {f"R{number}" for number in range(1, 60)}
    assert set(inbox.ledger().values()) == {Decimal(1)}
    assert till.run(setaside.quarantine) == []


def test_unfinished_number_is_not_read(till: Till) -> None:
    """`1` may become `12`: a last row without its line end is never an event."""
    assert append(till, HEADER + "R1;1028;1") == 0
    assert append(till, "2;2026-11-23 08:00:01\n") == 1
    [body] = till.run(lambda conn: [row["body"] for row in conn.execute("SELECT body FROM change")])
    assert b'"quantity":"12"' in body


async def test_restart_reads_on(till: Till, inbox: Inbox, tmp_path: Path) -> None:
    """Another process goes on where this one ended; line numbers go on too."""
    append(till, HEADER + lines(1, 2))
    till.close()
    again = Till(tmp_path)
    try:
        assert append(again, lines(3)) == 1
        bodies = again.run(lambda conn: [row["body"] for row in conn.execute("SELECT body FROM change ORDER BY id")])
        assert b'"line":4' in bodies[-1]
        await inbox.take_all(again)
        assert ids(inbox) == {"R1", "R2", "R3"}
    finally:
        again.close()


async def test_rotation_to_a_new_name(till: Till, inbox: Inbox) -> None:
    """A new file every day, each with its own header."""
    append(till, HEADER + lines(1, 2), "SALES-23.TXT")
    append(till, HEADER + lines(3), "SALES-24.TXT")
    append(till, lines(4), "SALES-24.TXT")
    await inbox.take_all(till)
    assert ids(inbox) == {"R1", "R2", "R3", "R4"}


@pytest.mark.parametrize("restarted", [False, True])
async def test_rotation_under_one_name(till: Till, inbox: Inbox, tmp_path: Path, *, restarted: bool) -> None:
    """The till moves its journal away and begins anew, longer than before or shorter: it is read from the start."""
    append(till, HEADER + lines(1, 2, 3))
    for number, text in enumerate((HEADER + lines(4), HEADER + lines(*range(5, 25)))):
        (till.export / "SALES.TXT").rename(till.export / f"OLD-{number}")
        if restarted:
            till.close()
            till = Till(tmp_path)
        assert append(till, text) == text.count("R")
    await inbox.take_all(till)
    assert ids(inbox) == {f"R{number}" for number in range(1, 25)}
    till.close()


async def test_truncated(till: Till, inbox: Inbox) -> None:
    """The front was cut away: what was sent before comes again under its natural id, and counts once."""
    append(till, HEADER + lines(*range(1, 10)))
    await inbox.take_all(till)
    (till.export / "SALES.TXT").write_text(HEADER + lines(8, 9, 10), encoding="utf-8")
    assert till.read_on() == 3
    await inbox.take_all(till)
    assert inbox.ledger() == {f"R{number}": Decimal(1) for number in range(1, 11)}


async def test_rewritten_line_is_a_conflict(till: Till, inbox: Inbox) -> None:
    """A till that changes what it booked before: both contents are kept, and somebody is told."""
    append(till, HEADER + line(1, "1"))
    await inbox.take_all(till)
    (till.export / "SALES.TXT").write_text(HEADER + line(1, "3") + line(2), encoding="utf-8")
    assert till.read_on() == 2
    batch = await till.next_batch()
    assert batch is not None
    answer = inbox.receive(batch, till.run(outbox.position))
    assert [note.code for note in answer.dead] == ["conflict"]  # type: ignore[union-attr]
    assert inbox.ledger() == {"R1": Decimal(1), "R1!2": Decimal(3), "R2": Decimal(1)}


async def test_bad_row_between_good_ones(till: Till, inbox: Inbox) -> None:
    """It is set aside with its text; the others flow."""
    append(till, HEADER + line(1) + "R2;1028;viele;2026-11-23 08:00:02\n" + line(3))
    await inbox.take_all(till)
    assert ids(inbox) == {"R1", "R3"}
    [entry] = till.run(setaside.quarantine)
    assert (entry["file"], entry["line"], entry["column"], entry["text"]) == ("SALES.TXT", 3, "Menge", "viele")


def test_missing_column(till: Till) -> None:
    """A journal without the columns of its mapping is set aside once, not at every look."""
    assert append(till, "Beleg;Artikel;Zeit\nR1;1;x\n") == 0
    assert till.read_on() == 0
    [entry] = till.run(setaside.quarantine)
    assert entry["code"] == "column_missing"


async def test_long_journal(till: Till, inbox: Inbox) -> None:
    """Longer than one piece that is read at once."""
    assert append(till, HEADER + "".join(line(number) for number in range(40_000))) == 40_000
    queued = till.run(lambda conn: conn.execute("SELECT count(DISTINCT key) FROM change").fetchone()[0])
    assert queued == 40_000


async def test_the_status_says_how_far_a_journal_was_read(till: Till) -> None:
    """Who reads "nothing accepted yet" under a journal whose sales have all arrived looks for a fault."""
    def accepted() -> tuple[str, int, dt.datetime | None]:
        beat = status.heartbeat(
            till.store.submit(status.read_facts).result(), version="1", now=till.now, feeds=till.feeds, watches={},
            state=till.state,
        )
        sales = next(feed for feed in beat.feeds if feed.name == "sales")
        return sales.accepted_file, sales.rows, sales.accepted_at

    assert accepted() == ("", 0, None)
    append(till, HEADER + lines(1, 2))
    assert accepted() == ("SALES.TXT", 2, till.now)
    till.now += MINUTE
    append(till, HEADER + lines(3), "SALES2.TXT")
    assert accepted() == ("SALES2.TXT", 1, till.now)
