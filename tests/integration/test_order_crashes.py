"""Web orders when the agent dies, is restored, lost or copied: never imported twice, never lost without a word."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.orders import SECOND, Chain, open_chain
from tests.integration.ordertill import Crash, Crashes, OrderTill, Pos, buy, live

from tillbridge_agent.core.uplink import State
from tillbridge_agent.crash import ORDER_POINTS


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Head office, which sells the pears of one location."""
    with open_chain() as opened:
        opened.counts("mallow", opened.now - SECOND, pear=900)
        yield opened


@pytest.fixture
def till(tmp_path: Path, chain: Chain) -> Iterator[OrderTill]:
    """A till that takes orders."""
    opened = OrderTill(tmp_path, chain, Pos(tmp_path / "pos"))
    yield opened
    opened.end()


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> Crashes:
    """Crash points to arm."""
    return Crashes(monkeypatch)


def settle(till: OrderTill) -> None:
    """Life goes on, however often the process dies over it, until nothing more happens by itself."""
    for _ in range(20):
        if not live(till, lambda: till.rest(5)):
            return
    raise AssertionError("it dies for ever")


def whole_way(till: OrderTill, chain: Chain, order: str) -> None:
    """From the mailbox to the till's yes."""
    settle(till)
    till.pos.take()
    settle(till)
    if chain.state(order) != "accepted":
        till.pos.answer(f"{order};OK;", name="ONE.ANS")
    settle(till)


@pytest.mark.parametrize("hasty", [True, False], ids=["the till takes it at once", "the till takes it later"])
@pytest.mark.parametrize("point", [*ORDER_POINTS, "mail.received", "mail.dealt", "freeze.committed", "ack.committed"])
def test_dead_at_a_named_point(till: OrderTill, chain: Chain, crashes: Crashes, point: str, hasty: bool) -> None:
    """Dead at its first and at its second passing: one file, and head office hears everything."""
    for count in (1, 2):
        order = buy(chain)
        if "standings" in point:
            till.again()  # they are told once in a life
        crashes.arm(point, count)
        if hasty:
            crashes.at = lambda name: till.pos.take() if name == "order.renamed" else None
        whole_way(till, chain, order)
        crashes.armed = ""
        assert crashes.hit or count == 2, f"{point} was not passed"
        assert (till.pos.imported[order], chain.state(order)) == (1, "accepted")


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_dead_at_every_commit(till: OrderTill, chain: Chain, crashes: Crashes, stride: int) -> None:
    """Before and after each transaction of the whole way (a part of them; each where there is time)."""
    died = 0
    for point in ("store.committing", "store.committed"):
        for count in itertools.count(1, stride):
            order = buy(chain)
            crashes.arm(point, count)
            whole_way(till, chain, order)
            assert (till.pos.imported[order], chain.state(order)) == (1, "accepted"), (point, count)
            if not crashes.hit:
                break
            died += 1
    assert died > 50 // stride


class Backups:
    """What a backup of the agent's database would hold after each commit that changed it."""

    def __init__(self, till: OrderTill, crashes: Crashes) -> None:
        """Starts with the database as it is."""
        self._till, self.kept = till, [till.database()]
        crashes.at = self._at

    def _at(self, name: str) -> None:
        if name == "store.committed":  # reached in the store's own thread
            content = self._till.store._connection.serialize()
            if content != self.kept[-1]:
                self.kept.append(content)


def placed_or_asked(till: OrderTill, chain: Chain, order: str) -> None:
    """Never two; and where it is none, head office shows it as uncertain and a person decides.

    Then the person looks at the till, and the order is there once.
    """
    till.pos.take()
    settle(till)
    till.pos.take()
    settle(till)
    assert till.pos.imported[order] <= 1
    assert till.row(order)["state"] not in ("received", "ready")
    if till.pos.imported[order] == 0:
        assert chain.state(order) == "uncertain"
    if chain.state(order) in ("uncertain", "taken"):
        chain.mark(order, "imported" if till.pos.imported[order] else "again")
        chain.sends()
        settle(till)
        till.pos.take()
        settle(till)
    assert till.pos.imported[order] == 1
    assert chain.state(order) in ("taken", "accepted")


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not taken yet"])
def test_restored_after_it_was_placed(till: OrderTill, chain: Chain, crashes: Crashes, taken: bool) -> None:
    """Whatever moment the backup is from, head office knows more: nothing is placed again, and nobody is asked."""
    settle(till)
    order = buy(chain)
    backups = Backups(till, crashes)
    settle(till)
    if taken:
        till.pos.take()
        settle(till)
    assert len(backups.kept) > 5
    files = [path.name for path in till.pos.files()]
    for content in list(backups.kept):
        till.restore(content)
        settle(till)
        assert [path.name for path in till.pos.files()] == files
        assert (till.row(order)["state"], chain.state(order)) == (chain.state(order), "taken" if taken else "published")
    till.pos.take()
    settle(till)
    assert (till.pos.imported[order], chain.state(order)) == (1, "taken")


@pytest.mark.parametrize("stride", [11, pytest.param(4, marks=pytest.mark.slow)])
def test_restored_in_the_middle(till: OrderTill, chain: Chain, crashes: Crashes, stride: int) -> None:
    """Dead at any commit, then any backup from before it: never two, and none only with a question."""
    settle(till)
    asked = cases = 0
    for count in itertools.count(1, stride):
        for back in range(0, count, stride):
            order = buy(chain)
            backups = Backups(till, crashes)
            crashes.arm("store.committed", count)
            with contextlib.suppress(Crash):
                asyncio.run(till.rest(5))
            if cases % 2:
                till.pos.take()
            crashes.at = lambda name: None
            till.restore(backups.kept[max(0, len(backups.kept) - 1 - back)])
            settle(till)
            asked += chain.state(order) == "uncertain"
            placed_or_asked(till, chain, order)
            cases += 1
        if not crashes.hit or count > 60:
            break
    assert asked > 0, "no case was one that nobody can tell"


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not taken yet"])
def test_the_database_is_lost(till: OrderTill, chain: Chain, crashes: Crashes, taken: bool) -> None:
    """At any commit of the way: marks and head office know enough that nothing is placed twice."""
    settle(till)
    for count in range(1, 60, 4):
        order = buy(chain)
        crashes.arm("store.committed", count)
        with contextlib.suppress(Crash):
            asyncio.run(till.rest(5))
        crashes.armed = ""
        if taken:
            till.pos.take()
        till.restore(None)
        settle(till)
        placed_or_asked(till, chain, order)
    numbers = [path.name.split(".")[0] for path in till.pos.done.iterdir()]
    assert len(numbers) == len(set(numbers)), "a number was used twice"


@pytest.mark.parametrize("count", range(1, 60, 6))
def test_a_copy_of_the_machine_on_the_same_folder(
    tmp_path: Path, till: OrderTill, chain: Chain, crashes: Crashes, count: int,
) -> None:
    """The folder copied at any commit, and both go on by turns: never two files for one order."""
    settle(till)
    order = buy(chain)
    crashes.arm("store.committed", count)
    with contextlib.suppress(Crash):
        asyncio.run(till.rest(5))
    crashes.armed = ""
    clone = till.cloned()
    try:
        for _ in range(6):
            for one in (clone, till):
                asyncio.run(one.round())
                till.pos.take()
        assert till.pos.imported[order] <= 1
        frozen = [one for one in (clone, till) if one.lane.uplink.state is State.FROZEN]
        assert frozen or till.pos.imported[order] == 1, "nothing is placed and nobody is told"
    finally:
        clone.end()
