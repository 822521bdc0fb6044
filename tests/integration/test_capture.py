"""What becomes of one file at the agent: believed, held, quarantined, left alone; and by whose word."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.inbox import Inbox
from tests.integration.till import MINUTE, STOCK, Till, feed_of

from tillbridge_agent.sources.folder import ChangedWhileReading, list_folder
from tillbridge_agent.store import outbox, setaside

HEADER = "ArtNr;Bestand;VK\n"


def text(stock: dict[str, int], price: str = "9.90") -> str:
    """An export of these items."""
    return HEADER + "".join(f"{code};{count};{price}\n" for code, count in stock.items())


FULL = {f"{number:03}": 10 for number in range(40)}
HALF = {code: count for code, count in FULL.items() if code < "020"}


def later(till: Till, stock: dict[str, int], name: str = "STOCK.CSV", price: str = "9.90") -> Any:
    """A minute later this export is there and settled."""
    till.now += MINUTE
    till.write(name, text(stock, price))
    return till.take(name)


def held(till: Till) -> list[dict[str, Any]]:
    """Open holds."""
    return list(till.run(setaside.holds))


def copies(till: Till) -> set[str]:
    """Names of the copies that are kept."""
    return {path.name for path in till.copies.iterdir()}


# -- believed, or nothing new ----------------------------------------------------------------------------------


async def test_same_content_again(till: Till, inbox: Inbox) -> None:
    """Nothing is queued, no copy is added, and what is known holds for a later moment."""
    assert later(till, FULL).verdict == "accept"
    await inbox.take_all(till)
    kept = copies(till)
    before = till.run(lambda conn: conn.execute("SELECT as_of_to FROM feed").fetchone()[0])
    assert later(till, FULL).verdict == "nothing"
    assert not till.run(outbox.backlog).waiting
    assert copies(till) == kept
    assert till.run(lambda conn: conn.execute("SELECT as_of_to FROM feed").fetchone()[0]) > before


async def test_older_file_is_history(till: Till, tmp_path: Path) -> None:
    """Another file that was written before the believed one says nothing, also after a restart."""
    till.write("STOCK-OLD.CSV", text({**FULL, "000": 99}), at=till.now - MINUTE)
    assert later(till, FULL, "STOCK-NEW.CSV").verdict == "accept"
    assert till.take("STOCK-OLD.CSV").verdict == "nothing"
    till.close()
    again = Till(tmp_path)
    try:
        assert again.take("STOCK-OLD.CSV").verdict == "nothing"
        assert again.take("STOCK-NEW.CSV").verdict == "nothing"
    finally:
        again.close()


async def test_newer_file_of_another_name(till: Till, inbox: Inbox) -> None:
    """The newest matching file wins, whatever it is called."""
    later(till, FULL, "STOCK-1.CSV")
    assert later(till, {**FULL, "000": 7}, "STOCK-2.CSV").changes == 1
    await inbox.take_all(till)
    assert inbox.stock()["000"] == Decimal(7)


def test_written_to_while_it_was_copied(till: Till) -> None:
    """What was listed is not what is there any more: nothing happens, and no copy stays."""
    till.write("STOCK.CSV", text(FULL))
    seen = till.seen("STOCK.CSV")
    till.write("STOCK.CSV", text({**FULL, "new": 1}))
    with pytest.raises(ChangedWhileReading):
        till.capture.take(till.feed("stock"), seen, None, 3600.0)
    assert copies(till) == set()


def test_only_the_newest_copy_is_kept(till: Till) -> None:
    """Each accepted file replaces the one before it."""
    for count in range(5):
        later(till, {**FULL, "000": count})
        assert len(copies(till)) == 1


# -- held --------------------------------------------------------------------------------------------------------


async def test_held_file_changes_nothing(till: Till, inbox: Inbox) -> None:
    """Half the rows are lost: held with its reason; looked at again it is held still, not twice."""
    later(till, FULL)
    await inbox.take_all(till)
    assert later(till, HALF).verdict == "hold"
    assert till.take().verdict == "held"
    [hold] = held(till)
    assert (hold["code"], hold["affected"], hold["state"]) == ("rows_lost", 40, "open")
    assert len(hold["sample"]) == setaside.SAMPLE_MAX
    assert not till.run(outbox.backlog).waiting
    assert await inbox.take_all(till) == 0
    assert inbox.stock() == {code: Decimal(10) for code in FULL}


async def test_approved(till: Till, inbox: Inbox) -> None:
    """A person says that the rows are really gone: exactly that file is taken, as of when it was held."""
    later(till, FULL)
    await inbox.take_all(till)
    later(till, HALF)
    [hold] = held(till)
    till.now += 5 * MINUTE
    done = till.capture.approve(till.feed("stock"), hold, "ana", "discontinued")
    assert done.verdict == "accept"
    assert held(till) == []
    decided = till.run(setaside.hold, hold["id"])
    assert (decided["state"], decided["decided_by"], decided["why"]) == ("approved", "ana", "discontinued")
    await inbox.take_all(till)
    assert inbox.stock() == {code: Decimal(10) for code in HALF}
    assert till.take().verdict == "nothing", "the file in the folder is the approved one"


async def test_rejected(till: Till, inbox: Inbox) -> None:
    """The same content never comes back; another one is judged against the last believed state."""
    later(till, FULL)
    await inbox.take_all(till)
    later(till, HALF)
    [hold] = held(till)
    assert till.run(setaside.decide, hold["id"], "rejected", "ana", "cut short", till.now.isoformat())
    till.capture.tidy()
    assert len(copies(till)) == 1, "evidence of what is believed stays, the rejected copy goes"
    assert till.take().verdict == "held"
    assert held(till) == [], "nobody is asked twice about the same content"
    assert later(till, {**FULL, "000": 4}).verdict == "accept"
    await inbox.take_all(till)
    assert inbox.stock() == {code: Decimal(10 if code != "000" else 4) for code in FULL}


async def test_superseded(till: Till) -> None:
    """A complete export comes before anybody decided: the question is gone, and so is its copy."""
    later(till, FULL)
    later(till, HALF)
    [hold] = held(till)
    assert len(copies(till)) == 2
    assert later(till, {**FULL, "000": 9}).verdict == "accept"
    assert held(till) == []
    assert till.run(setaside.hold, hold["id"])["state"] == "gone"
    assert len(copies(till)) == 1
    assert not till.run(setaside.decide, hold["id"], "approved", "ana", "late", till.now.isoformat())


async def test_back_to_the_believed_content(till: Till) -> None:
    """The till writes the believed export once more: the held one is history, so nobody must decide about it."""
    later(till, FULL)
    later(till, HALF)
    assert later(till, FULL).verdict == "nothing"
    assert held(till) == []
    assert len(copies(till)) == 1


async def test_approved_after_more_was_believed(till: Till, inbox: Inbox) -> None:
    """Approving is judging again: against what is believed now, not against what was believed then."""
    feed = feed_of(STOCK, absence="zero")
    later(till, FULL)
    later(till, HALF, price="0.99")
    [hold] = held(till)
    done = till.capture.approve(feed, hold, "ana", "")
    assert done.verdict == "accept"
    await inbox.take_all(till)
    assert inbox.facts("price", "list_price") == {code: Decimal("0.99") for code in HALF}


async def test_two_held_files(till: Till, inbox: Inbox) -> None:
    """The earlier one is approved: the later one, which is what the folder holds, still waits for its own answer."""
    later(till, FULL)
    await inbox.take_all(till)
    later(till, HALF)
    later(till, {"000": 1})
    first, second = sorted(held(till), key=lambda hold: hold["since"])
    assert till.capture.approve(till.feed("stock"), first, "ana", "").verdict == "accept"
    assert [hold["id"] for hold in held(till)] == [second["id"]]
    assert till.capture.approve(till.feed("stock"), second, "ana", "").verdict == "accept"
    await inbox.take_all(till)
    assert inbox.stock() == {"000": Decimal(1)}


def test_a_wrong_column_cannot_be_approved(till: Till) -> None:
    """Only guards can be overruled: what cannot be mapped stays held, and nothing changes."""
    later(till, FULL)
    till.now += MINUTE
    till.write("STOCK.CSV", text(FULL).replace("Bestand", "Lager"))
    assert till.take().verdict == "hold"
    [hold] = held(till)
    assert hold["code"] == "column_missing"
    assert till.capture.approve(till.feed("stock"), hold, "ana", "").verdict == "hold"
    assert [one["id"] for one in held(till)] == [hold["id"]]


# -- quarantined -------------------------------------------------------------------------------------------------


def broken(till: Till) -> Any:
    """A minute later something that is no text is there."""
    till.now += MINUTE
    (till.export / "STOCK.CSV").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 4)
    return till.take()


async def test_quarantined_file(till: Till, inbox: Inbox) -> None:
    """It is kept with its reason, the believed state stays, and the next good export flows."""
    later(till, FULL)
    await inbox.take_all(till)
    assert broken(till).verdict == "quarantine"
    [entry] = till.run(setaside.quarantine)
    assert entry["whole_file"]
    assert entry["sha256"] in copies(till)
    assert not till.run(outbox.backlog).waiting
    assert till.take().verdict == "held"
    assert later(till, {**FULL, "000": 3}).verdict == "accept"
    await inbox.take_all(till)
    assert inbox.stock()["000"] == Decimal(3)


def test_retried(till: Till) -> None:
    """After a retry the same content is judged anew, and set aside anew when it is no better."""
    broken(till)
    [entry] = till.run(setaside.quarantine)
    till.run(setaside.close_quarantined, entry["id"], "retried")
    assert till.take().verdict == "quarantine"
    [again] = till.run(setaside.quarantine)
    assert again["id"] == entry["id"]


def test_dropped(till: Till) -> None:
    """A dropped file is not looked at again, and its copy goes."""
    broken(till)
    [entry] = till.run(setaside.quarantine)
    till.run(setaside.close_quarantined, entry["id"], "dropped")
    till.capture.tidy()
    assert copies(till) == set()
    assert till.take().verdict == "held"
    assert till.run(setaside.quarantine) == []


async def test_quarantined_row_keeps_the_last_value(till: Till, inbox: Inbox) -> None:
    """One row cannot be read: the others flow, its last value stays, and it is cleared when it can be read again."""
    later(till, FULL)
    await inbox.take_all(till)
    till.now += MINUTE
    till.write("STOCK.CSV", text({**FULL, "001": 5}).replace("000;10;9.90", "000;viele;teuer"))
    assert till.take().verdict == "accept"
    assert {(entry["line"], entry["column"], entry["whole_file"]) for entry in till.run(setaside.quarantine)} == {
        (2, "Bestand", 0), (2, "VK", 0)
    }
    await inbox.take_all(till)
    assert inbox.stock() == {code: Decimal(5 if code == "001" else 10) for code in FULL}
    assert later(till, {**FULL, "000": 2}).verdict == "accept"
    assert till.run(setaside.quarantine) == []
    await inbox.take_all(till)
    assert inbox.stock()["000"] == Decimal(2)


# -- changed mapping, lost copy ------------------------------------------------------------------------------------


async def test_changed_mapping(till: Till, inbox: Inbox, tmp_path: Path) -> None:
    """Another column counts now: the whole file is sent anew, and what is no longer mapped is gone."""
    later(till, FULL)
    await inbox.take_all(till)
    till.close()
    mapping = {**STOCK["mapping"], "stock_level": {"on_hand": "VK"}}  # type: ignore[dict-item]
    del mapping["price"]
    again = Till(tmp_path, [feed_of(STOCK, mapping=mapping)])
    try:
        assert again.take().verdict == "accept"
        await inbox.take_all(again)
        assert inbox.stock() == {code: Decimal("9.90") for code in FULL}
        assert inbox.facts("price", "list_price") == {}
    finally:
        again.close()


async def test_lost_copy(till: Till, inbox: Inbox) -> None:
    """Somebody deleted our copies: the export is read in full, and the result is the same."""
    later(till, FULL)
    await inbox.take_all(till)
    for path in till.copies.iterdir():
        path.unlink()
    assert later(till, {**FULL, "000": 1}).verdict == "accept"
    await inbox.take_all(till)
    assert inbox.stock() == {code: Decimal(1 if code == "000" else 10) for code in FULL}


async def test_rows_that_go(till: Till, inbox: Inbox) -> None:
    """A row that is no longer there is gone by the feed's declaration."""
    later(till, FULL)
    await inbox.take_all(till)
    later(till, {code: count for code, count in FULL.items() if code != "007"})
    await inbox.take_all(till)
    assert "007" not in inbox.stock()


def test_a_file_name_in_an_old_code_page(till: Till) -> None:
    """Its bytes are no text; the file is believed, or set aside, like any other, and nothing breaks."""
    if not write_undecodable(till, text(FULL)):
        till.write("STOCK.CSV", text(FULL))  # this volume has no such names
    till.now += MINUTE
    [name] = [one.name for one in list_folder(till.export, "STOCK*.CSV")]
    assert name.encode().isascii()
    assert till.take(name).verdict == "accept"
    till.capture.set_aside(till.feed("stock"), till.seen(name), ValueError("x"))
    assert [one["file"] for one in till.run(setaside.quarantine)] == [name]


def write_undecodable(till: Till, content: str) -> bool:
    """Write an export under such a name; False where the volume takes none."""
    try:
        descriptor = os.open(os.fsencode(till.export) + b"/STOCK-M\xfcller.CSV", os.O_WRONLY | os.O_CREAT)
    except (OSError, UnicodeDecodeError):
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode())
    return True
