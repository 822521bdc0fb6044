"""The conversation of the batch lane: only the answer to what is in flight moves anything."""

from random import Random

import pytest

from tillbridge_agent.core.backoff import BACKOFF_S_MAX, backoff_s
from tillbridge_agent.core.uplink import (
    REFUSED_S,
    Beat,
    Ignore,
    NewEpoch,
    SendNext,
    Settle,
    State,
    Uplink,
    Wait,
)
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.heartbeat import HeartbeatAnswer
from tillbridge_protocol.positions import Ack, ErrorAnswer, Position, Resync

AT = Position("e1", 4, "aa")
FLYING = FrozenBatch("e1", 5, "bb", b"...")
RNG = Random(1)


def answered(answer: object, in_flight: FrozenBatch | None = FLYING, uplink: Uplink | None = None) -> object:
    """Judge one answer at second 0."""
    line = uplink or Uplink(heartbeat_s=15.0)
    return line.answered(0.0, answer, position=AT, in_flight=in_flight, rng=RNG)  # type: ignore[arg-type]


def test_an_ack_of_the_very_batch_settles_it() -> None:
    """Epoch, number and hash all fit."""
    ack = Ack("e1", 5, "bb", 5)
    assert answered(ack) == Settle(ack)


@pytest.mark.parametrize("ack", [
    Ack("e1", 5, "cc", 5), Ack("e1", 4, "bb", 4), Ack("e0", 5, "bb", 5), Ack("e1", 6, "bb", 6),
])
def test_an_ack_of_anything_else_moves_nothing(ack: Ack) -> None:
    """A number alone never acknowledges: a late ack from before a restore would delete unsent changes."""
    assert answered(ack) == Ignore()


def test_an_ack_while_nothing_is_in_flight_moves_nothing() -> None:
    """It answers a batch we do not hold."""
    assert answered(Ack("e1", 5, "bb", 5), in_flight=None) == Ignore()


def test_a_resync_counts_only_for_the_position_it_answers() -> None:
    """Otherwise late resyncs would make storms of new epochs."""
    assert answered(Resync(AT, "ahead")) == NewEpoch("ahead")
    assert answered(Resync(Position("e1", 3, "99"), "ahead")) == Ignore()


def test_a_heartbeat_answer_makes_the_next_beat_wait() -> None:
    """The line is fine, nothing moves."""
    line = Uplink(heartbeat_s=15.0)
    assert line.next(0.0, waiting=False) == Beat()
    assert answered(HeartbeatAnswer("e1", 4, "aa", 4), None, line) == Ignore()
    assert line.next(1.0, waiting=False) == Wait(14.0, wakes=True)
    assert line.next(1.0, waiting=True) == SendNext()


def test_a_dead_line_backs_off_with_jitter_and_a_bound() -> None:
    """Everything is kept; the wait grows, never beyond the bound, and new changes do not shorten it."""
    line = Uplink(heartbeat_s=15.0)
    waits = []
    for _ in range(40):
        line.failed(100.0, RNG)
        command = line.next(100.0, waiting=True)
        waits.append(command.seconds if isinstance(command, Wait) else 0.0)
        assert not isinstance(command, Wait) or not command.wakes
    assert line.state is State.OFFLINE
    assert max(waits) <= BACKOFF_S_MAX
    assert max(waits[10:]) > 30.0
    assert answered(Ack("e1", 5, "bb", 5), FLYING, line) == Settle(Ack("e1", 5, "bb", 5))
    assert line.next(100.0, waiting=True) == SendNext()


def test_backoff_is_uniform_between_zero_and_the_doubled_bound() -> None:
    """Full jitter: a thousand tills must not come back in one second."""
    draws = [backoff_s(5, RNG) for _ in range(2_000)]
    assert 0.0 <= min(draws) < 1.0
    assert 15.0 < max(draws) <= 16.0


@pytest.mark.parametrize(("code", "state"), [
    ("key_revoked", State.REFUSED), ("key_unknown", State.REFUSED), ("frozen", State.FROZEN),
    ("wrong_location", State.REFUSED), ("version", State.REFUSED),
])
def test_a_refusal_for_good_is_shown_and_asked_again_slowly(code: str, state: State) -> None:
    """A person has to act; the batch stays in flight."""
    line = Uplink(heartbeat_s=15.0)
    assert answered(ErrorAnswer(code, "m", "h"), FLYING, line) == Ignore()
    assert line.state is state
    assert line.error is not None
    assert line.next(0.0, waiting=True) == Wait(REFUSED_S, wakes=False)


def test_a_clock_refusal_is_tried_again_at_once_and_only_once() -> None:
    """The transport has just learned the server's time."""
    line = Uplink(heartbeat_s=15.0)
    answered(ErrorAnswer("clock", "m", "h"), FLYING, line)
    assert line.next(0.0, waiting=True) == SendNext()
    answered(ErrorAnswer("clock", "m", "h"), FLYING, line)
    assert isinstance(line.next(0.0, waiting=True), Wait)


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks() -> None:
    """Retry-After is a lower bound."""
    line = Uplink(heartbeat_s=15.0)
    answered(ErrorAnswer("busy", "m", "h", retry_after_s=30.0), FLYING, line)
    command = line.next(0.0, waiting=True)
    assert isinstance(command, Wait)
    assert command.seconds >= 30.0


def test_a_clock_refusal_after_a_long_outage_is_tried_again_at_once() -> None:
    """Failures before it say nothing about the clock."""
    line = Uplink(heartbeat_s=15.0)
    for _ in range(10):
        line.failed(0.0, RNG)
    line.quiet_until = 0.0
    answered(ErrorAnswer("clock", "m", "h"), FLYING, line)
    assert line.next(0.0, waiting=True) == SendNext()


def test_resyncs_in_a_row_make_no_storm() -> None:
    """One new epoch at once; if the server asks again and again, the waits grow until something fits."""
    line = Uplink(heartbeat_s=15.0)
    waits = []
    for _ in range(12):
        assert answered(Resync(AT, "behind"), FLYING, line) == NewEpoch("behind")
        command = line.next(0.0, waiting=True)
        waits.append(command.seconds if isinstance(command, Wait) else 0.0)
    assert waits[0] == 0.0
    assert max(waits) > 10.0
    answered(Ack("e1", 5, "bb", 5), FLYING, line)
    assert answered(Resync(AT, "behind"), FLYING, line) == NewEpoch("behind")
    assert line.next(0.0, waiting=True) == SendNext()
