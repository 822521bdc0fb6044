"""What the till answers to web orders: early, late, twice, contrary, unreadable."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.orders import SECOND, Chain, open_chain
from tests.integration.ordertill import Crash, Crashes, OrderTill, Pos, buy, place

from tillbridge_agent import replies
from tillbridge_agent.imports import Answer, AnswerProblem, AnswersConfig
from tillbridge_agent.sources.folder import Seen


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Head office, which sells the pears of one location."""
    with open_chain() as opened:
        opened.counts("mallow", opened.now - SECOND, pear=50)
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


def test_an_answer_before_our_own_published_is_not_lost(till: OrderTill, chain: Chain, crashes: Crashes) -> None:
    """The till takes the file and answers at once; the process dies before it has committed `published`."""
    order = buy(chain)
    crashes.arm("order.folder_synced")
    with pytest.raises(Crash):
        place(till)
    assert till.pos.take() == [order]
    till.pos.answer(f"{order};OK;")
    till.again()
    assert till.row(order)["state"] == "ready"
    till.line = False
    place(till, 2)
    assert till.row(order)["state"] == "accepted"
    till.line = True
    place(till)
    assert (till.row(order)["state"], chain.state(order)) == ("accepted", "accepted")
    assert till.pos.imported == {order: 1}


def test_answers_late_twice_unknown_and_contrary(till: OrderTill, chain: Chain) -> None:
    """A repeated answer changes nothing; one that cannot be so is shown."""
    first, second = buy(chain), buy(chain)
    place(till)
    till.pos.take()
    till.pos.answer(f"{first};ERR;unknown item", f"{second};OK;")
    place(till)
    assert (chain.state(first), chain.state(second)) == ("rejected", "accepted")
    assert chain.shown(first)["message"] == "unknown item"
    till.pos.answer(f"{first.lower()};OK;")
    place(till)
    assert chain.state(first) == "accepted"
    till.pos.answer(f"{second};ERR;no", "WINDOW-9999-QQQ;OK;", f"{first};OK;again")
    place(till)
    assert (chain.state(first), chain.state(second)) == ("accepted", "accepted")
    [odd] = till.run(lambda conn: conn.execute("SELECT problem FROM order_answer WHERE problem IS NOT NULL").fetchall())
    assert "Line 1: The till says it refuses order" in odd["problem"]
    assert "Line 2: The till answers for order WINDOW-9999-QQQ" in odd["problem"]
    assert "Line 3" not in odd["problem"]


def test_a_growing_answer_file_says_each_line_once(till: OrderTill, chain: Chain) -> None:
    """A no of the first try is not a no of the second one."""
    order = buy(chain)
    place(till)
    till.pos.take()
    till.pos.answer(f"{order};ERR;no such item", name="ALL.ANS")
    place(till)
    assert chain.state(order) == "rejected"
    chain.mark(order, "again")
    chain.sends()
    place(till)
    assert till.row(order)["revision"] == 2
    till.pos.answer(f"{order};ERR;no such item", "x;OK;", name="ALL.ANS")
    place(till)
    assert chain.state(order) == "published"
    assert till.pos.take() == [order]


def test_an_answer_that_cannot_be_opened_does_not_stop_the_others(till: OrderTill, chain: Chain) -> None:
    """A folder under the name of an answer is none; what cannot be opened is told, and the rest is read."""
    order = buy(chain)
    place(till)
    read = replies._read

    def locked(seen: Seen) -> bytes | None:
        if seen.name == "0.ANS":
            raise PermissionError(13, "in use")
        return read(seen)

    till.pos.answer("locked", name="0.ANS")
    till.pos.answer(f"{order};OK;", name="1.ANS")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies, "_read", locked)
        place(till)
        assert (till.row(order)["state"], till.troubles()) == ("accepted", ["answers_folder"])
    place(till)
    assert till.troubles() == []


def test_an_answer_file_with_a_name_in_an_old_code_page(till: OrderTill, chain: Chain) -> None:
    """Its answers count as any other's."""
    order = buy(chain)
    place(till)
    till.pos.take()
    if not undecodable(till.pos.answers / "r.ANS", f"{order};OK;\r\n".encode()):
        till.pos.answer(f"{order};OK;")  # this volume has no such names
    place(till)
    assert chain.state(order) == "accepted"


def undecodable(beside: Path, content: bytes) -> bool:
    """Write such a file; False where the volume takes none."""
    try:
        descriptor = os.open(os.fsencode(beside.parent) + b"/R\xfcck.ANS", os.O_WRONLY | os.O_CREAT)
    except (OSError, UnicodeDecodeError):
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


def test_an_answer_file_that_makes_the_agent_fail(
    till: OrderTill, chain: Chain, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A person is told of it, and the file after it is read."""
    first, second = buy(chain), buy(chain)
    place(till)
    till.pos.take()
    real = replies.read_answers

    def fails(config: AnswersConfig, data: bytes) -> list[Answer | AnswerProblem]:
        if first.encode() in data:
            raise KeyError(first)
        return real(config, data)

    monkeypatch.setattr(replies, "read_answers", fails)
    till.pos.answer(f"{first};OK;", name="a.ANS")
    till.pos.answer(f"{second};OK;", name="b.ANS")
    place(till)
    assert (chain.state(first), chain.state(second)) == ("taken", "accepted")
    [odd] = till.run(lambda conn: conn.execute("SELECT name, problem FROM order_answer WHERE problem <> ''").fetchall())
    assert odd["name"] == "a.ANS"
    assert "made the agent fail (KeyError)" in odd["problem"]
