"""The handshake with a scanner: whatever breaks in between, each label is kept exactly once."""

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from tillbridge_agent.devices import Scanned
from tillbridge_agent.devices.handshake import CROSSING_S, Handshake, Kept, Verdict

WAIT_S = 2.0
CABLE_S = 0.1


def scan(text: str, began: float, *, again: bool = False) -> Scanned:
    """A label whose first byte came at `began`."""
    return Scanned(text, None, text.encode(), began, again)


def shakes(kept: Kept | None = None, *, waits: bool = True) -> Handshake:
    """A handshake whose port was opened just now."""
    made = Handshake(kept, waits=waits, ack_wait_s=WAIT_S)
    made.opened()
    return made


def test_first_label_after_an_opening_is_the_unanswered_one() -> None:
    """It is answered, not kept again; the next one is new whatever it is."""
    again = shakes(Kept("7612", None, acked=False))
    assert again.judge(scan("7612", 1.0)) is Verdict.REPEATED
    again.answered(1.0)
    assert again.judge(scan("7612", 5.0)) is Verdict.NEW
    other = shakes(Kept("7612", None, acked=False))
    assert other.judge(scan("4012", 1.0)) is Verdict.NEW
    assert other.judge(scan("7612", 2.0)) is Verdict.NEW


def test_an_answered_label_scanned_again_is_new() -> None:
    """Two pieces of one item are two scans."""
    again = shakes(Kept("7612", None, acked=True))
    assert again.judge(scan("7612", 1.0)) is Verdict.NEW
    again.answered(1.1)
    assert again.judge(scan("7612", 1.1 + CROSSING_S + 0.01)) is Verdict.NEW


def test_what_was_sent_before_our_answer_is_on_the_same_label() -> None:
    """The scanner lost patience while the disk was slow: one answer is enough, a second would answer the next label."""
    one = shakes()
    assert one.judge(scan("7612", 1.0)) is Verdict.NEW
    assert one.judge(scan("7612", 3.0)) is Verdict.CROSSED
    one.answered(3.1)
    assert one.judge(scan("7612", 3.1 + CROSSING_S / 2)) is Verdict.CROSSED
    assert one.judge(scan("4012", 3.2)) is Verdict.NEW


def test_silence_of_an_open_line_tells_that_the_answer_was_heard() -> None:
    """Told once; until then a broken line leaves it open."""
    one = shakes()
    assert not one.heard(0.5)
    one.judge(scan("7612", 1.0))
    assert not one.heard(9.0)
    one.answered(9.0)
    assert not one.heard(9.0 + WAIT_S)
    assert one.heard(9.0 + WAIT_S + CROSSING_S)
    assert not one.heard(20.0)
    one.opened()
    assert one.judge(scan("7612", 21.0)) is Verdict.NEW


def test_a_scanner_that_waits_for_nothing_is_never_taken_to_repeat() -> None:
    """But for what the protocol calls a stammer."""
    one = shakes(Kept("7612", None, acked=True), waits=False)
    assert one.judge(scan("7612", 1.0)) is Verdict.NEW
    assert one.judge(scan("7612", 1.0)) is Verdict.NEW
    assert one.judge(scan("7612", 1.0, again=True)) is Verdict.REPEATED
    one.opened()
    assert one.judge(scan("7612", 2.0)) is Verdict.NEW


@dataclass
class Bench:
    """A scanner, a cable and an agent on one clock; each can break, and the disk keeps what was committed."""

    rng: Random
    now: float = 0.0
    labels: int = 0
    waiting_since: float | None = None
    delivered: list[str] = field(default_factory=list)
    to_agent: deque[tuple[float, str]] = field(default_factory=deque)
    ack_at: float | None = None
    disk: list[str] = field(default_factory=list)
    kept: Kept | None = None
    hand: Handshake = field(init=False)

    def __post_init__(self) -> None:
        self.hand = shakes()

    @property
    def label(self) -> str:
        """The label the scanner is at: few different ones, never one twice in a row."""
        return f"label {self.labels % 3}"

    def scan_next(self) -> None:
        """A person scans, where the scanner is not still waiting."""
        if self.waiting_since is None:
            self.to_agent.append((self.now, self.label))
            self.waiting_since = self.now

    def pass_time(self, seconds: float) -> None:
        """The scanner hears an ACK when the cable has brought it, and loses patience."""
        self.now += seconds
        if self.waiting_since is None:
            return
        if self.ack_at is not None and self.now - self.ack_at >= CABLE_S:
            self.delivered.append(self.label)
            self.labels, self.waiting_since, self.ack_at = self.labels + 1, None, None
        elif self.now - self.waiting_since > WAIT_S:
            self.to_agent.append((self.now, self.label))
            self.waiting_since = self.now

    def agent(self) -> None:
        """Reads a label, commits, drains, answers; it may die between any two of these."""
        if not self.to_agent:
            if self.hand.heard(self.now) and self.kept is not None:
                self.kept = Kept(self.kept.text, None, acked=True)
            return
        answer = False
        while self.to_agent:
            began, text = self.to_agent.popleft()
            if self.rng.random() < 0.05:
                self.die()
                return
            verdict = self.hand.judge(scan(text, began))
            if verdict is Verdict.NEW:
                self.disk.append(text)
                self.kept = Kept(text, None, acked=False)
            answer = answer or verdict is not Verdict.CROSSED
            if self.rng.random() < 0.05:
                self.die()
                return
            if self.rng.random() < 0.2:  # the disk is slow
                self.pass_time(WAIT_S / 2)
        if answer:
            self.ack_at = self.now
            self.hand.answered(self.now)

    def die(self) -> None:
        """kill -9: what was read is gone, what is on disk is not."""
        self.hand = shakes(self.kept)

    def unplug(self) -> None:
        """Everything in the cable is gone, both ways; the scanner sends again what was not answered."""
        self.to_agent.clear()
        self.ack_at = None
        self.hand.opened()
        if self.waiting_since is not None:
            self.to_agent.append((self.now, self.label))
            self.waiting_since = self.now


@pytest.mark.parametrize("seed", range(200))
def test_each_label_is_kept_exactly_once(seed: int) -> None:
    """Unplugs, deaths and slow disks in any order: the disk has what was delivered, and at most one label more."""
    rng = Random(seed)
    bench = Bench(rng)
    for _ in range(300):
        bench.pass_time(rng.choice((0.01, 0.05, 0.3, 1.0)))
        rng.choices((bench.scan_next, bench.agent, bench.unplug, bench.die), weights=(10, 8, 1, 1))[0]()
    assert len(bench.delivered) > 20
    assert bench.disk[: len(bench.delivered)] == bench.delivered
    assert len(bench.disk) <= len(bench.delivered) + 1
