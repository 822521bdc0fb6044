"""The inbox and the starts of an agent's process: late packets, restored machines, and two machines with one key."""

import datetime as dt

import pytest
import sqlalchemy as sa
from tests.unit.server.inbox_till import NOW, Till, facts, stock

from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.positions import Ack, Boot, Position, Resync
from tillbridge_server.agents import inbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.store.tables import hold


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
