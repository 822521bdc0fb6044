"""The inbox over a database: what each kind of batch does to position, facts, ledger, dirt and dead letters."""

import datetime as dt

import pytest
import sqlalchemy as sa
from tests.unit.server.inbox_till import FEEDS, NOW, Till, count, facts, gone, sale, stock

from tillbridge_protocol.changes import FullPart, freeze
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat, HeldFile
from tillbridge_protocol.mailbox import DecideHold, Message, decode_body
from tillbridge_protocol.positions import Ack, Boot, Position, Resync
from tillbridge_protocol.records import AsOf
from tillbridge_server import reports
from tillbridge_server.agents import fleet, inbox, mailbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.store import retention
from tillbridge_server.store.tables import dead_letter, dirty, fact_history, feed, hold, ledger, variant


def test_a_batch_becomes_facts_history_variants_and_dirt(till: Till) -> None:
    """All of it in the transaction of the ack."""
    answer = till.send(stock("001", 5), stock("002", 0))
    assert isinstance(answer, Ack)
    assert (answer.seq, answer.durable_seq, answer.dead) == (1, 1, [])
    assert facts(till) == {"001": "5", "002": "0"}
    assert [count(till, table) for table in (fact_history, variant, dirty)] == [2, 2, 2]


def test_a_repeat_is_acked_again_and_moves_nothing(till: Till) -> None:
    """The answer to the first one was lost."""
    batch = till.batch(stock("001", 5), sale("R1"))
    till.deliver(batch)
    till.position = Position("e1", 0, "")
    again = till.deliver(batch)
    assert isinstance(again, Ack)
    assert again.repeated
    assert (count(till, fact_history), count(till, ledger)) == (1, 1)


def test_the_same_position_with_other_bytes_is_a_fork(till: Till) -> None:
    """A restored agent reuses a number: nothing is applied, it starts a new epoch."""
    batch = till.batch(stock("001", 9))
    till.send(stock("001", 5))
    till.position = Position("e1", 0, "")
    answer = till.deliver(batch)
    assert answer == Resync(Position("e1", 0, ""), "fork")
    assert facts(till) == {"001": "5"}


def test_a_gap_or_a_broken_chain_asks_for_a_new_epoch(till: Till) -> None:
    """This server was restored and has not seen what the agent has acks for."""
    till.send(stock("001", 5))
    till.position = Position("e1", 3, "a" * 64)
    assert till.send(stock("001", 6)) == Resync(Position("e1", 3, "a" * 64), "ahead")
    till.position = Position("e1", 1, "b" * 64)
    assert till.send(stock("001", 6)) == Resync(Position("e1", 1, "b" * 64), "ahead")
    assert facts(till) == {"001": "5"}


def test_a_superseded_epoch_is_refused_for_ever(till: Till) -> None:
    """A packet of an old life of the outbox."""
    old = till.batch(stock("001", 1))
    till.deliver(old)
    till.position = Position("e2", 0, "")
    assert isinstance(till.send(stock("001", 2)), Ack)
    till.position = Position("e1", 1, old.head)
    assert till.send(stock("001", 3)) == Resync(Position("e1", 1, old.head), "old_epoch")
    assert facts(till) == {"001": "2"}


def test_an_unknown_kind_is_one_dead_letter_and_the_rest_flows(till: Till) -> None:
    """A newer agent with an older server; the ack names it by its place."""
    strange = b'{"feed":"stock","kind":"hologram","key":"1","op":"put","record":{"kind":"hologram","code":"1"}}'
    answer = till.send(stock("001", 5), strange, stock("002", 6))
    assert isinstance(answer, Ack)
    assert [(note.index, note.code) for note in answer.dead] == [(1, "change_unknown")]
    assert facts(till) == {"001": "5", "002": "6"}
    assert count(till, dead_letter) == 1


def test_a_feed_the_batch_does_not_describe_is_a_dead_letter(till: Till) -> None:
    """Without its numbering the change cannot be joined to anything."""
    answer = till.send(stock("001", 5, "ghost"), stock("002", 6))
    assert isinstance(answer, Ack)
    assert [(note.index, note.code) for note in answer.dead] == [(0, "change_refused")]


def test_one_sale_line_with_two_contents_is_kept_twice_and_reported(till: Till) -> None:
    """Nobody here can know which is right; both stay until a person compares them."""
    till.send(sale("R1", 1))
    answer = till.send(sale("R1", 2), sale("R1", 1), sale("R2", 1))
    assert isinstance(answer, Ack)
    assert [(note.index, note.code) for note in answer.dead] == [(0, "conflict")]
    with till.engine.begin() as conn:
        ids = {row.id: str(row.quantity) for row in conn.execute(sa.select(ledger.c.id, ledger.c.quantity))}
    assert ids == {"R1": "1", "R1!2": "2", "R2": "1"}


def test_the_same_value_again_makes_no_history(till: Till) -> None:
    """Only where it was read is renewed."""
    till.send(stock("001", 5))
    till.send(stock("001", 5))
    assert count(till, fact_history) == 1


def test_gone_is_not_zero(till: Till) -> None:
    """Absent is a value of its own; what was never known cannot go."""
    till.send(stock("001", 5), gone("404"))
    till.send(gone("001"))
    assert facts(till) == {"001": None}


def test_a_full_state_swaps_in_with_its_last_part(till: Till) -> None:
    """Before that nothing of it is believed; what it does not name is gone afterwards."""
    till.send(stock("001", 5), stock("002", 6))
    till.send(stock("002", 7), full=FullPart("stock", "f1", 0, last=False))
    assert facts(till) == {"001": "5", "002": "6"}
    till.send(stock("003", 8), full=FullPart("stock", "f1", 1, last=True))
    assert facts(till) == {"001": None, "002": "7", "003": "8"}


def test_a_full_state_begun_again_forgets_the_half_one(till: Till) -> None:
    """The agent restarted in the middle."""
    till.send(stock("009", 1), full=FullPart("stock", "f1", 0, last=False))
    till.send(stock("001", 5), full=FullPart("stock", "f2", 0, last=True))
    assert facts(till) == {"001": "5"}


def test_a_full_state_of_a_feed_whose_absence_means_nothing_takes_nothing_away(till: Till) -> None:
    """A file of differences never says that something is gone."""
    till.send(stock("001", 5))
    till.send(stock("002", 6), full=FullPart("stock", "f1", 0, last=True), absence="nothing")
    assert facts(till) == {"001": "5", "002": "6"}


def test_a_batch_for_another_location_is_refused_whole(till: Till) -> None:
    """An agent speaks for its own location only."""
    batch = freeze(agent="a1", location="ennis", epoch="e1", seq=1, prev="", feeds=FEEDS, full=None, changes=[])
    with pytest.raises(ProtocolError) as caught:
        till.deliver(batch)
    assert caught.value.code == "wrong_location"
    assert facts(till) == {}


def test_durable_waits_for_a_backup_where_there_is_one(till: Till) -> None:
    """Without a backup applied counts as durable, and `init` says so."""
    assert till.deliver(till.batch(stock("001", 5)), backs_up=True) == Ack("e1", 1, till.position.head, 0)
    assert till.deliver(till.batch(stock("001", 6)), backs_up=False) == Ack("e1", 2, till.position.head, 2)


def test_a_confirmed_file_moves_the_as_of_of_its_feed(till: Till) -> None:
    """Unchanged rows are confirmed too."""
    later = AsOf(NOW, NOW + dt.timedelta(hours=1), "observed")
    till.send(as_of=later)
    with till.engine.begin() as conn:
        row = conn.execute(sa.select(feed.c.as_of_to).where(feed.c.name == "stock")).one()
    assert row.as_of_to == later.to


def test_a_revoked_key_is_refused(till: Till) -> None:
    """The machine was stolen."""
    with till.engine.begin() as conn:
        assert fleet.revoke(conn, "a1", "Maeve", "stolen", NOW)
    with pytest.raises(ProtocolError) as caught:
        till.send(stock("001", 5))
    assert caught.value.code == "key_revoked"


@pytest.mark.parametrize("order", [("R1", "R1", "R1!2"), ("R1", "R1!2", "R1"), ("R1!2", "R1", "R1")])
def test_a_till_that_writes_our_own_mark(till: Till, order: tuple[str, ...]) -> None:
    """Its receipt is called as we call the second content of another: all are kept, and the batch is not stuck."""
    answer = till.send(*(sale(number, count) for count, number in enumerate(order, 1)))
    assert isinstance(answer, Ack)
    with till.engine.begin() as conn:
        kept = conn.execute(sa.select(ledger.c.id, ledger.c.quantity)).all()
    assert sorted(int(row.quantity) for row in kept) == [1, 2, 3]
    assert till.send(*(sale(number, count) for count, number in enumerate(order, 1)))
    with till.engine.begin() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(ledger)).scalar_one() == 3


def test_a_till_that_wrote_our_own_mark_before(till: Till) -> None:
    """The second content of a receipt finds its place taken by another receipt of an earlier batch."""
    till.send(sale("R1!2", 1))
    answer = till.send(sale("R1", 2), sale("R1", 3))
    assert isinstance(answer, Ack)
    assert [(note.index, note.code) for note in answer.dead] == [(1, "conflict")]
    with till.engine.begin() as conn:
        kept = {row.id: int(row.quantity) for row in conn.execute(sa.select(ledger.c.id, ledger.c.quantity))}
    assert kept == {"R1!2": 1, "R1": 2, "R1!3": 3}


# -- what an agent holds -----------------------------------------------------------------------------------------------


def beat(till: Till, *held: str) -> None:
    """A heartbeat that lists these holds."""
    files = [HeldFile(id=one, feed="stock", file="STOCK.CSV", since=NOW, code="rows_lost", message="m", hint="h")
             for one in held]
    till.requests += 1
    lane = Lane(till.position, Boot(till.boot, till.requests), till.at)
    told = Heartbeat("1", till.at, 0, 0, None, [], files, [], 0, {})
    with till.engine.begin() as conn:
        inbox.receive_heartbeat(conn, "a1", told, lane, now=till.at)


def holds_of(till: Till) -> dict[str, str]:
    """State by the agent's own id."""
    with till.engine.begin() as conn:
        return {fleet.agent_hold_id(row.id): row.state for row in conn.execute(sa.select(hold.c.id, hold.c.state))}


def approve(till: Till, why: str = "Looked at it.") -> list[Message]:
    """A person approves the only hold; the mail that waits for the agent."""
    with till.engine.begin() as conn:
        only = conn.execute(sa.select(hold.c.id)).scalar_one()
        reports.decide_hold(conn, only, "approve", by="Maeve", why=why, now=till.at)
        return mailbox.collect(conn, "a1", [], till.at)


def test_a_hold_comes_back_when_the_agent_does(till: Till) -> None:
    """An agent restored from a backup holds the file again: somebody must be asked again."""
    beat(till, "h1")
    beat(till)
    assert holds_of(till) == {"h1": "gone"}
    beat(till, "h1")
    assert holds_of(till) == {"h1": "open"}


def test_a_decision_without_effect_is_asked_for_again(till: Till) -> None:
    """The agent could not carry it out; while it may still be on its way nothing changes."""
    beat(till, "h1")
    [message] = approve(till)
    till.at += dt.timedelta(hours=1)
    beat(till, "h1")
    assert holds_of(till) == {"h1": "approved"}, "the agent has not read its mail yet"
    with till.engine.begin() as conn:
        mailbox.collect(conn, "a1", [message.id], till.at)
    beat(till, "h1")
    assert holds_of(till) == {"h1": "approved"}, "this heartbeat may have been written before the decision"
    till.at += 2 * fleet.EFFECT_WITHIN
    beat(till, "h1")
    assert holds_of(till) == {"h1": "open"}
    [again] = approve(till)
    assert again.id != message.id


def test_a_long_reason_reaches_the_agent(till: Till) -> None:
    """The wire allows 200 characters; a longer one must not make the decision unreadable there."""
    beat(till, "h1")
    [message] = approve(till, "Because. " * 200)
    body = decode_body(message.body)
    assert isinstance(body, DecideHold)
    assert body.decision == "approve"


def test_old_batches_are_forgotten_but_the_last(till: Till) -> None:
    """The last one may still be asked for again, however long its agent was away."""
    batches = [till.batch(stock("001", 1))]
    till.deliver(batches[0])
    batches.append(till.batch(stock("001", 2)))
    till.deliver(batches[1])
    till.at += dt.timedelta(days=retention.BATCHES_KEPT_DAYS + 1)
    with till.engine.begin() as conn:
        assert retention.sweep(conn, till.at).batches == 1
    again = till.deliver(batches[1])
    assert isinstance(again, Ack)
    assert again.repeated
    assert isinstance(till.deliver(batches[0]), Resync)
