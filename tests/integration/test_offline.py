"""A day without a line: 1,440 exports accepted while the server is down, then current state goes first."""

from decimal import Decimal
from pathlib import Path
from random import Random

from tests.integration.inbox import Inbox
from tests.integration.till import MINUTE, Till

from tillbridge_agent.store import outbox
from tillbridge_protocol.changes import open_batch

EXPORTS = 1440
VARIANTS = 60


class Shelf:
    """What the till has, and its two files."""

    def __init__(self, till: Till, rng: Random) -> None:
        """A full shop."""
        self._till, self._rng = till, rng
        self.stock = {f"{number:04}": rng.randint(20, 90) for number in range(VARIANTS)}
        self.sales: dict[str, Decimal] = {}
        self._journal = "Beleg;ArtNr;Menge;Zeit\n"

    def minute(self) -> None:
        """A sale or two, a delivery now and then; the export once, the journal's new lines."""
        self._till.now += MINUTE
        for _ in range(self._rng.randint(1, 2)):
            code = self._rng.choice(list(self.stock))
            receipt = f"R{len(self.sales) + 1}"
            self.stock[code] += 30 if self.stock[code] < 2 else -1
            self.sales[receipt] = Decimal(1)
            self._journal += f"{receipt};{code};1;{self._till.now:%Y-%m-%d %H:%M:%S}\n"
        rows = "".join(f"{code};{count};9.90\n" for code, count in self.stock.items())
        self._till.write("STOCK.CSV", "ArtNr;Bestand;VK\n" + rows)
        self._till.write("SALES.TXT", self._journal)

    @property
    def counted(self) -> dict[str, Decimal]:
        """code → on hand, as the last export says."""
        return {code: Decimal(count) for code, count in self.stock.items()}


async def test_a_day_without_a_line(tmp_path: Path, inbox: Inbox) -> None:
    """The first applied batch holds current stock, all events follow, and batches are far fewer than exports."""
    till = Till(tmp_path)
    shelf = Shelf(till, Random(20261123))
    try:
        shelf.minute()
        till.take()
        till.read_on()
        before = await inbox.take_all(till)
        assert inbox.stock() == shelf.counted
        for _ in range(EXPORTS):
            shelf.minute()
            assert till.take().verdict == "accept"
            till.read_on()
        assert till.run(outbox.counters)["files_accepted"] == EXPORTS + 1
        waiting = till.run(outbox.backlog)
        assert waiting.changes <= VARIANTS, "the latest per variant, however long the line was dead"
        till.close()
        till = Till(tmp_path)  # the machine was also switched off before the line came back
        till.now = inbox.now = shelf._till.now
        first = await inbox.take_next(till)
        assert first is not None
        assert inbox.stock() == shelf.counted, "current stock goes first"
        assert open_batch(first.body).feeds["stock"].as_of is not None, "and it says that it is current"
        batches = before + 1 + await inbox.take_all(till)
        assert inbox.ledger() == shelf.sales
        assert inbox.applied == batches < EXPORTS / 100
        assert not till.run(outbox.backlog).waiting
    finally:
        till.close()


async def test_never_heard_of_before(tmp_path: Path, inbox: Inbox) -> None:
    """The same when the server has never had a full state: the outage began before the first batch."""
    till = Till(tmp_path)
    shelf = Shelf(till, Random(7))
    try:
        for _ in range(50):
            shelf.minute()
            assert till.take().verdict == "accept"
            till.read_on()
        await inbox.take_next(till)
        assert inbox.stock() == shelf.counted
        assert inbox.ledger() == {}, "events are history and come behind"
        await inbox.take_all(till)
        assert inbox.ledger() == shelf.sales
    finally:
        till.close()


async def test_events_alone_bound_no_state(tmp_path: Path, inbox: Inbox) -> None:
    """A long backlog of events goes out in full batches, and a change that comes meanwhile overtakes it."""
    till = Till(tmp_path)
    try:
        till.write("STOCK.CSV", "ArtNr;Bestand;VK\n1;5;1.00\n")
        till.take()
        await inbox.take_all(till)
        lines = "".join(f"R{number};1;1;2026-11-23 08:00:00\n" for number in range(10_200))
        till.write("SALES.TXT", "Beleg;ArtNr;Menge;Zeit\n" + lines)
        assert till.read_on() == 10_200
        await inbox.take_next(till)
        assert 0 < len(inbox.ledger()) < 10_200
        till.now += MINUTE
        till.write("STOCK.CSV", "ArtNr;Bestand;VK\n1;4;1.00\n")
        till.take()
        await inbox.take_next(till)
        assert inbox.stock() == {"1": Decimal(4)}
        assert len(inbox.ledger()) < 10_200
        await inbox.take_all(till)
        assert len(inbox.ledger()) == 10_200
    finally:
        till.close()
