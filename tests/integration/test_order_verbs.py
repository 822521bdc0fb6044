"""What people at the till see of web orders and say about them: verbs, status, status page; through the real door."""

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.integration.orders import SECOND, Chain, open_chain
from tests.integration.ordertill import OrderTill, Pos, buy, place

from tillbridge_agent import ordertold, statuspage
from tillbridge_agent.cli import asking, main
from tillbridge_agent.deeds import Deeds
from tillbridge_agent.local import LocalDoor, ask

SCHEMAS = Path(__file__).parents[1] / "golden" / "cli"


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Head office, which sells the pears of one location."""
    with open_chain() as opened:
        opened.now = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)  # the verbs look at the clock of this machine
        opened.counts("mallow", opened.now - SECOND, pear=50)
        yield opened


@pytest.fixture
def till(tmp_path: Path, chain: Chain) -> Iterator[OrderTill]:
    """A till that takes orders."""
    opened = OrderTill(tmp_path, chain, Pos(tmp_path / "pos"))
    yield opened
    opened.end()


class Verbs:
    """The command line against a till in this process."""

    def __init__(self, till: OrderTill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """The verbs ask through the local door of an agent made of the till's parts."""
        self._monkeypatch, self._capsys = monkeypatch, capsys
        agent: Any = SimpleNamespace(store=till.store, orders=till.desk, watches={})
        self._deeds, self._state = Deeds(agent), till.state
        monkeypatch.setattr(asking, "_ask", lambda path, verb, arguments: asyncio.run(self._through(verb, arguments)))

    async def _through(self, verb: str, arguments: dict[str, Any]) -> Any:
        door = LocalDoor(self._state, self._deeds.verbs())
        await door.open()
        try:
            return await ask(self._state, verb, arguments)
        finally:
            await door.close()

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a verb."""
        self._monkeypatch.setattr(sys, "argv", ["tillbridge-agent", *words])
        self._capsys.readouterr()  # what the loops logged before
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def document(self, name: str, *words: str) -> tuple[int, dict[str, Any]]:
        """The document of a verb, in its shape."""
        code, out, _ = self.run(*words, "--json")
        document: dict[str, Any] = json.loads(out)
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
        Draft202012Validator(schema).validate(document)
        return code, document


def test_list_show_and_mark(
    till: OrderTill, chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """A taken order without an answer is overdue; a person has seen it; head office hears that."""
    order = chain.buys(pear=2)
    chain.sends()
    asyncio.run(till.rest())
    till.pos.take()
    asyncio.run(till.rest())
    verbs = Verbs(till, monkeypatch, capsys)
    code, listed = verbs.document("agent-orders-list", "orders", "list")
    assert code == 1
    assert [(one["id"], one["state"], one["overdue"]) for one in listed["orders"]] == [(order, "taken", True)]
    code, shown = verbs.document("agent-orders-show", "orders", "show", order)
    assert (code, shown["order"]["total"]) == (0, "19.80")
    assert [line["code"] for line in shown["order"]["lines"]] == ["pear"]
    assert f"orders mark {order} imported" in verbs.run("orders", "list")[1]
    assert "2 x pear" in verbs.run("orders", "show", order)[1]
    assert verbs.run("orders", "mark", order, "imported")[0] == 2, "a reason is wanted"
    code, marked = verbs.document("agent-orders-mark", "orders", "mark", order, "imported", "--why", "on the screen")
    assert (code, marked["state"]) == (0, "accepted")
    code, _, said = verbs.run("orders", "mark", order, "imported", "--why", "again")
    assert (code, "is accepted" in said) == (1, True)
    assert verbs.document("agent-orders-list", "orders", "list") == (0, {"v": 1, "orders": []})
    assert len(verbs.document("agent-orders-list", "orders", "list", "--all")[1]["orders"]) == 1
    assert verbs.run("orders", "show", "W-0")[0] == 1
    asyncio.run(till.rest())
    assert chain.state(order) == "accepted"
    assert "on the screen" in chain.shown(order)["message"]


def test_what_the_status_says(till: OrderTill, chain: Chain) -> None:
    """Counts by state, and of everything that waits for a person what to do; the page shows the counts."""
    waiting, refused, late = (chain.buys(pear=1) for _ in range(3))
    chain.sends()
    asyncio.run(till.rest())
    facts = till.run(ordertold.read_orders, chain.now)
    assert ordertold.shown_counts(facts) == {"received": 0, "ready": 0, "published": 3, "uncertain": 0}
    assert ordertold.problems(facts) == []
    till.pos.answer(f"{refused};ERR;unknown item", "who;OK;")
    asyncio.run(till.rest())
    facts = till.run(ordertold.read_orders, chain.now + dt.timedelta(minutes=31))
    told = {(one["code"], next((order for order in (waiting, refused, late) if order in one["message"]), "")): one
            for one in ordertold.problems(facts)}
    assert set(told) == {
        ("order_unanswered", waiting), ("order_unanswered", late), ("order_rejected", refused), ("answer_odd", ""),
    }
    assert "unknown item" in told["order_rejected", refused]["message"]
    assert all(one["hint"] for one in told.values())
    page = statuspage._orders(ordertold.shown_counts(facts))
    assert "2 placed and not answered yet" in page
    assert statuspage._orders({"received": 0, "ready": 0, "published": 0, "uncertain": 0}) == ""


def test_an_earlier_try_waits_for_nobody(till: OrderTill, chain: Chain) -> None:
    """The till took the file and never answered; head office has it placed once more: only that one is told of."""
    order = buy(chain)
    place(till)
    till.pos.take()
    asyncio.run(till.rest())
    assert chain.state(order) == "taken"
    chain.mark(order, "again")
    chain.sends()
    asyncio.run(till.rest())
    facts = till.run(ordertold.read_orders, chain.now + dt.timedelta(minutes=31))
    assert facts.counts == {"published": 1}
    assert [one["code"] for one in ordertold.problems(facts)] == ["order_unanswered"]
    assert "lies in the import folder" in ordertold.problems(facts)[0]["message"]
