"""The inbox over a database: what each kind of batch does to position, facts, ledger, dirt and dead letters."""

import datetime as dt
import json
from decimal import Decimal

import pytest
import sqlalchemy as sa

from tillbridge_protocol.changes import Change, FeedInfo, FrozenBatch, FullPart, Source, encode_change, freeze
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat, HeldFile
from tillbridge_protocol.mailbox import DecideHold, Message, decode_body
from tillbridge_protocol.positions import Ack, Boot, Position, Resync
from tillbridge_protocol.records import AsOf, SaleLine, StockLevel
from tillbridge_server import reports
from tillbridge_server.agents import fleet, inbox, mailbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.store import retention
from tillbridge_server.store.tables import (
    agent,
    dead_letter,
    dirty,
    fact,
    fact_history,
    feed,
    hold,
    ledger,
    metadata,
    variant,
)

NOW = dt.datetime(2026, 3, 14, 9, 0, tzinfo=dt.UTC)
FEEDS = {"stock": FeedInfo("pos"), "sales": FeedInfo("pos")}


class Till:
    """An agent as the inbox sees it: freezes batches, keeps its chain, counts its requests."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.position = Position("e1", 0, "")
        self.boot, self.requests = "b1", 0
        self.at = NOW

    def batch(self, *changes: Change | bytes, full: FullPart | None = None, **info: object) -> FrozenBatch:
        """The next batch of the chain."""
        raw = [one if isinstance(one, bytes) else encode_change(one) for one in changes]
        feeds = {name: FeedInfo("pos", **info) for name in FEEDS}  # type: ignore[arg-type]
        at = self.position
        return freeze(agent="a1", location="mallow", epoch=at.epoch, seq=at.seq + 1, prev=at.head,
                      feeds=feeds, full=full, changes=raw)

    def deliver(self, batch: FrozenBatch, *, backs_up: bool = False) -> Ack | Resync:
        """One request; the position moves with the ack."""
        self.requests += 1
        lane = Lane(self.position, Boot(self.boot, self.requests), self.at)
        with self.engine.begin() as conn:
            answer = inbox.receive_batch(conn, "a1", batch.body, lane, backs_up=backs_up, now=self.at)
        if isinstance(answer, Ack):
            self.position = Position(answer.epoch, answer.seq, answer.head)
        return answer

    def send(self, *changes: Change | bytes, **more: object) -> Ack | Resync:
        """Freeze and deliver."""
        return self.deliver(self.batch(*changes, **more))  # type: ignore[arg-type]


@pytest.fixture
def till() -> Till:
    """An enrolled agent and an empty database."""
    from sqlalchemy.pool import StaticPool

    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with engine.begin() as conn:
        conn.execute(agent.insert().values(
            id="a1", location_id="mallow", key_id="a/a1/1", public_key="00" * 32, status="active", host="{}", seq=0,
            head="", durable_seq=0, boot_n=0, boots_seen="[]", resync_asked=False, enrolled_at=NOW,
        ))
    return Till(engine)


def stock(code: str, count: int, feed_name: str = "stock") -> Change:
    """A count."""
    as_of = AsOf(NOW, NOW, "observed")
    record = StockLevel(code, Decimal(count), as_of)
    return Change(feed_name, "stock_level", code, "put", record, Source("S.CSV", "ab", 2))


def gone(code: str) -> Change:
    """An item that is not listed any more."""
    return Change("stock", "stock_level", code, "gone")


def sale(number: str, quantity: int = 1) -> Change:
    """A sale line."""
    return Change("sales", "sale_line", number, "put", SaleLine(number, "001", Decimal(quantity), NOW))


def facts(till: Till) -> dict[str, str | None]:
    """Code to count; None for gone."""
    with till.engine.begin() as conn:
        return {
            row.code: None if row.gone else json.loads(row.value)["on_hand"]
            for row in conn.execute(sa.select(fact.c.code, fact.c.gone, fact.c.value))
        }


def count(till: Till, table: sa.Table) -> int:
    """Rows of a table."""
    with till.engine.begin() as conn:
        return conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


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


def test_boot_ids_a_b_a_freeze_the_identity(till: Till) -> None:
    """Two machines use one key; nothing of either is used until a person decided."""
    till.send(stock("001", 5))
    till.boot, till.requests, till.at = "b2", 0, NOW + dt.timedelta(minutes=1)
    till.send(stock("001", 6))
    till.boot, till.requests, till.at = "b1", 7, NOW + dt.timedelta(minutes=2)
    till.send(stock("001", 7))
    assert facts(till) == {"001": "6"}
    with pytest.raises(ProtocolError) as caught:
        till.send(stock("001", 8))
    assert caught.value.code == "frozen"
    with till.engine.begin() as conn:
        assert conn.execute(sa.select(hold.c.code, hold.c.state)).all() == [("clone", "open")]


def test_a_request_counter_that_goes_back_moves_nothing(till: Till) -> None:
    """A late packet, or a machine restored while running."""
    first = till.batch(stock("001", 5))
    till.requests = 5
    till.deliver(first)
    till.requests = 3
    answer = till.send(stock("001", 6))
    assert isinstance(answer, Resync)
    assert facts(till) == {"001": "5"}


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


def test_a_late_packet_of_a_start_nobody_heard_of_begins_nothing(till: Till) -> None:
    """Its first request was held up while the agent started again: the old epoch must not come alive, nor freeze us."""
    late = till.batch(stock("001", 1))
    till.boot, till.requests, till.position, till.at = "b2", 0, Position("e2", 0, ""), NOW
    till.send(stock("001", 5))
    till.at = NOW + dt.timedelta(minutes=1)
    till.send(stock("001", 6))
    with till.engine.begin() as conn:
        lane = Lane(Position("e1", 0, ""), Boot("b1", 1), NOW)
        answer = inbox.receive_batch(conn, "a1", late.body, lane, backs_up=False, now=till.at)
    assert answer == Resync(Position("e1", 0, ""), "behind")
    till.send(stock("001", 7))
    assert facts(till) == {"001": "7"}


def test_a_start_within_the_same_second_is_asked_again(till: Till) -> None:
    """`created` has whole seconds; a second later there is no doubt."""
    till.send(stock("001", 5))
    till.boot, till.requests = "b2", 0
    with pytest.raises(ProtocolError) as caught:
        till.send(stock("001", 6))
    assert caught.value.code == "clock"
    till.at = NOW + dt.timedelta(seconds=1)
    assert isinstance(till.send(stock("001", 6)), Ack)
