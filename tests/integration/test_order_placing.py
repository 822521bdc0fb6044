"""Web orders placed by the real agent in real folders, with head office in this process."""

import asyncio
import datetime as dt
import shutil
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.orders import SECOND, Chain, open_chain
from tests.integration.ordertill import AGENT, OrderTill, Pos, buy, place

from tillbridge_agent.imports.place import MARKS
from tillbridge_agent.store import orders, outbox
from tillbridge_protocol.mailbox import MarkOrder, PlaceOrder
from tillbridge_protocol.orders import Order, OrderLine, sign_order

DAY = dt.timedelta(days=1)


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


def test_an_order_becomes_one_file_and_every_step_is_told(till: OrderTill, chain: Chain) -> None:
    """Published, taken, accepted: head office follows; the file is what the template says."""
    order = buy(chain)
    place(till)
    assert [path.name for path in till.pos.files()] == ["ORD00001.CSV"]
    assert till.pos.files()[0].read_bytes() == f"H;{order};1;9.90\r\nL;{order};1;pear;1;9.90\r\n".encode()
    assert (chain.state(order), chain.shown(order)["file"]) == ("published", "ORD00001.CSV")
    assert till.pos.take() == [order]
    place(till)
    assert chain.state(order) == "taken"
    till.pos.answer(f"{order};OK;thanks")
    place(till)
    assert chain.state(order) == "accepted"
    assert [step["after"] for step in chain.shown(order)["steps"]] == [
        "unrouted", "routed", "received", "ready", "published", "taken", "accepted",
    ]


def test_many_orders_get_numbers_without_gaps(till: OrderTill, chain: Chain) -> None:
    """Each once, in the order they were placed, however many wait."""
    bought = [buy(chain) for _ in range(12)]
    place(till)
    assert [path.name for path in till.pos.files()] == [f"ORD{number:05}.CSV" for number in range(1, 13)]
    assert till.pos.take() == bought


def test_nothing_is_placed_before_received_is_acked(till: OrderTill, chain: Chain) -> None:
    """While no ack comes the order waits, whatever the loop does."""
    place(till)
    order = buy(chain)
    asyncio.run(till.mail.step())
    for _ in range(5):
        asyncio.run(till.desk.step())
    assert till.row(order)["state"] == "received"
    assert till.pos.files() == []
    place(till)
    assert len(till.pos.files()) == 1


def test_a_new_process_places_nothing_before_it_was_told(till: OrderTill, chain: Chain) -> None:
    """After a start the acks of the life before are not enough: head office must say what it knows."""
    place(till)
    order = buy(chain)
    asyncio.run(till.mail.step())
    asyncio.run(till.lane.step())
    till.again()
    till.line = False
    place(till, 4)
    assert (till.row(order)["state"], till.pos.files()) == ("received", [])
    till.line = True
    place(till)
    assert len(till.pos.files()) == 1


def test_a_lost_ack_of_received_makes_no_second_file(till: OrderTill, chain: Chain) -> None:
    """The same batch goes again; the message comes again; one file."""
    place(till)
    order = buy(chain)
    asyncio.run(till.mail.step())
    till.mail.done.clear()
    till.wire.lost = 1
    place(till)
    assert till.pos.take() == [order]
    assert chain.state(order) == "published"
    place(till)
    assert (till.pos.take(), chain.state(order)) == ([], "taken")


def test_orders_wait_while_the_import_folder_is_gone(till: OrderTill, chain: Chain) -> None:
    """A share that is not mounted: nothing is lost, nothing counts as taken, and people are told."""
    first = buy(chain)
    place(till)
    second = buy(chain)
    away = till.pos.drop.with_name("away")
    till.pos.drop.rename(away)
    place(till)
    assert (till.row(first)["state"], till.row(second)["state"]) == ("published", "received")
    assert till.troubles() == ["orders_folder"]
    assert "not there" in till.desk.problem
    till.pos.drop.mkdir()
    place(till)
    assert (till.row(first)["state"], till.row(second)["state"]) == ("published", "received"), "an empty mount point"
    till.pos.drop.rmdir()
    away.rename(till.pos.drop)
    place(till)
    assert till.troubles() == []
    assert till.pos.take() == [first, second]


def test_a_foreign_file_of_the_same_name_is_never_overwritten(till: OrderTill, chain: Chain) -> None:
    """The order waits until it is gone."""
    (till.pos.drop / "ORD00001.CSV").write_bytes(b"somebody else's")
    order = buy(chain)
    place(till)
    assert (till.pos.drop / "ORD00001.CSV").read_bytes() == b"somebody else's"
    assert (till.row(order)["state"], till.troubles()) == ("ready", ["name_taken"])
    (till.pos.drop / "ORD00001.CSV").unlink()
    place(till)
    assert (till.pos.take(), till.troubles()) == ([order], [])


def test_a_foreign_mark_is_a_question_for_a_person(till: OrderTill, chain: Chain) -> None:
    """Somebody else has begun to place this order: not placed here; a person may say that it is in the till."""
    order = buy(chain)
    place(till, 1)
    marks = till.pos.drop / ".tillbridge" / MARKS
    marks.mkdir(parents=True, exist_ok=True)
    (marks / f"{order}~1.mark").write_bytes(
        b'{"order":"%s","revision":1,"nonce":"other","sequence":7,"file":"ORD00007.CSV","sha256":""}\n' % order.encode()
    )
    place(till)
    assert (till.row(order)["state"], till.row(order)["code"], till.pos.files()) == ("uncertain", "mark_foreign", [])
    assert chain.state(order) == "uncertain"
    row = till.row(order)
    assert asyncio.run(till.desk.mark(row, "imported", "seen at the till")) == "accepted"
    place(till)
    assert (chain.state(order), till.pos.files()) == ("accepted", [])


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 40, b'{"order":"W-1"}\n',
    b'{"order":"W-1","revision":1,"nonce":"n","sequence":1,"file":"../../etc/passwd","sha256":""}\n',
])
def test_an_unreadable_mark_is_a_question_too(till: OrderTill, chain: Chain, content: bytes) -> None:
    """Whatever stands in it, somebody made it; no name in it leads out of the import folder."""
    order = buy(chain)
    place(till, 1)
    marks = till.pos.drop / ".tillbridge" / MARKS
    marks.mkdir(parents=True, exist_ok=True)
    (marks / f"{order}~1.mark").write_bytes(content)
    place(till)
    assert (till.row(order)["state"], till.pos.files()) == ("uncertain", [])


def test_one_order_that_makes_the_agent_fail_does_not_stop_the_others(
    till: OrderTill, chain: Chain, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault of ours in one order is shown; the next one is placed, and the first as soon as it can be."""
    bad, good = buy(chain), buy(chain)
    write = till.desk._placing.folder.write_spool

    def fail(order: str, *rest: Any) -> str:
        if order == bad:
            raise ZeroDivisionError("a fault of ours")
        return write(order, *rest)

    monkeypatch.setattr(till.desk._placing.folder, "write_spool", fail)
    place(till)
    assert (till.pos.take(), till.troubles()) == ([good], ["order_failed"])
    monkeypatch.undo()
    place(till)
    assert till.pos.take() == [bad]


def test_a_spool_that_vanished_is_not_made_anew(till: OrderTill, chain: Chain) -> None:
    """Without the marks nobody could tell what was placed."""
    buy(chain)
    place(till)
    till.pos.take()
    shutil.rmtree(till.pos.drop / ".tillbridge")
    buy(chain)
    place(till)
    assert (till.pos.files(), till.troubles()) == ([], ["orders_folder"])


def test_a_higher_revision_replaces_one_that_waits(till: OrderTill, chain: Chain) -> None:
    """The one before is never placed, and an older one that comes late changes nothing."""
    made = [signed(chain, revision) for revision in (1, 2)]
    place(till, 1)
    till.pos.drop.rename(till.pos.drop.with_name("away"))
    assert asyncio.run(till.desk.keep(made[0]))
    asyncio.run(till.desk.step())
    assert asyncio.run(till.desk.keep(made[1]))
    assert asyncio.run(till.desk.keep(made[0]))
    states = till.run(lambda conn: [tuple(row) for row in conn.execute("SELECT revision, state FROM web_order")])
    assert states == [(1, "cancelled"), (2, "received")]


def test_another_order_under_the_same_number_is_never_placed(till: OrderTill, chain: Chain) -> None:
    """Before placing both are refused; afterwards the second is only shown."""
    one, other = signed(chain, 1), signed(chain, 1, pieces=9)
    assert asyncio.run(till.desk.keep(one))
    assert asyncio.run(till.desk.keep(one))
    assert asyncio.run(till.desk.keep(other))
    row = till.row("W-1")
    assert (row["state"], row["code"], till.troubles()) == ("rejected", "order_conflict", ["order_conflict"])
    place(till)
    assert till.pos.files() == []


def test_what_is_not_ours_is_not_kept(till: OrderTill, chain: Chain) -> None:
    """Another agent's, another location's, a changed one: it stays in the mailbox, and people are told."""
    strange = [signed(chain, 1, agent="sorrel-1"), signed(chain, 1, location="sorrel")]
    good = signed(chain, 1)
    changed = msgspec.structs.replace(good.order, payload=good.order.payload.replace("pear", "plum"))
    unknown = msgspec.structs.replace(good.order, key_id="s/2")
    for mail in (*strange, PlaceOrder(changed), PlaceOrder(unknown)):
        assert not asyncio.run(till.desk.keep(mail))
    assert till.run(lambda conn: conn.execute("SELECT count(*) FROM web_order").fetchone()[0]) == 0
    assert set(till.troubles()) == {"order_elsewhere", "order_unsigned"}


def test_an_order_that_became_too_old_is_not_placed(till: OrderTill, chain: Chain) -> None:
    """It was kept, the folder was away for weeks; then it is told as expired."""
    order = buy(chain)
    place(till, 1)
    away = till.pos.drop.with_name("away")
    till.pos.drop.rename(away)
    place(till)
    chain.now += 15 * DAY
    away.rename(till.pos.drop)
    place(till)
    assert (till.pos.files(), till.row(order)["state"], chain.state(order)) == ([], "expired", "expired")


def test_an_order_that_cannot_be_written_is_refused_with_its_reason(till: OrderTill, chain: Chain) -> None:
    """Nothing is written, no number is used up, and head office hears why."""
    first = buy(chain)
    place(till)
    assert asyncio.run(till.desk.keep(signed(chain, 1, code="two\nlines")))
    second = buy(chain)
    place(till)
    assert (till.row("W-1")["state"], till.row("W-1")["code"]) == ("rejected", "cell_control")
    assert [path.name for path in till.pos.files()] == ["ORD00001.CSV", "ORD00002.CSV"]
    assert till.pos.take() == [first, second]


def test_head_office_marks_an_order_that_waits(till: OrderTill, chain: Chain) -> None:
    """Sold at the till without its file, or called off: not placed, also when the order itself comes later."""
    place(till, 1)
    away = till.pos.drop.with_name("away")
    till.pos.drop.rename(away)
    waiting = buy(chain)
    place(till)
    asyncio.run(till.desk.marked(MarkOrder(waiting, 1, "imported", "sold", "dana")))
    asyncio.run(till.desk.marked(MarkOrder("W-1", 1, "cancelled", "called off", "dana")))
    assert asyncio.run(till.desk.keep(signed(chain, 1)))
    away.rename(till.pos.drop)
    place(till)
    assert till.pos.files() == []
    assert (till.row(waiting)["state"], till.row("W-1")["state"]) == ("accepted", "cancelled")


def test_what_was_ordered_is_forgotten_a_week_after_rest(till: OrderTill, chain: Chain) -> None:
    """The row stays; an order that still waits keeps everything."""
    done, waits = buy(chain), buy(chain)
    place(till)
    till.pos.take()
    till.pos.answer(f"{done};OK;")
    place(till)
    chain.now += 8 * DAY
    till.again()
    place(till)
    assert (till.row(done)["payload"], till.row(done)["state"]) == (None, "accepted")
    assert till.row(waits)["payload"] is not None


def test_states_of_orders_go_before_a_long_backlog(till: OrderTill, chain: Chain) -> None:
    """An order is placed while ten thousand sale lines still wait."""
    place(till)
    till.run(_backlog)
    order = buy(chain)
    asyncio.run(till.mail.step())
    batch = till.run(outbox.freeze_changes, till.lane.sender, chain.now.isoformat())
    counted = till.run(lambda conn: conn.execute("SELECT orders, changes FROM batch WHERE acked = 0").fetchone())
    assert batch is not None
    assert (counted["orders"], till.row(order)["state"]) == (1, "received")
    assert till.run(orders.waits, "x").unacked


def _backlog(conn: sqlite3.Connection) -> None:
    conn.executemany(
        "INSERT INTO change (feed, kind, key, event, body, captured_at) VALUES ('sales', 'sale_line', ?, 1, ?, '')",
        [(f"R{number}", b'{"feed":"sales","kind":"sale_line"}') for number in range(10_000)],
    )


def signed(
    chain: Chain, revision: int, *, pieces: int = 1, agent: str = AGENT, location: str = "mallow", code: str = "pear",
) -> PlaceOrder:
    """An order made by hand, signed by head office."""
    made = Order(
        id="W-1", revision=revision, agent=agent, location=location, storefront="window", number="1",
        placed_at=chain.now, not_after=chain.now + 14 * DAY, currency="CHF",
        lines=[OrderLine(1, code, Decimal(pieces), Decimal("9.90"))],
    )
    return PlaceOrder(sign_order(made, chain.key, "s/1"))
