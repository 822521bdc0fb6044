"""The conversation of the batch lane: what to send next, and what each answer means. Pure.

One request is under way at a time: a batch, or, when nothing waits, a heartbeat. An ack counts only when it
names the very batch in flight, by hash; a resync only when it answers the position we still have. Anything
else is a late packet and is ignored. A batch is retried with the same bytes until one of the two arrives,
however long that takes; the server repeats its ack and moves nothing (DESIGN §5.2-§5.4).
"""

from dataclasses import dataclass
from enum import Enum
from random import Random

from tillbridge_agent.core.backoff import backoff_s
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.heartbeat import HeartbeatAnswer
from tillbridge_protocol.positions import Ack, ErrorAnswer, Position, Resync

#: Refused for good until a person acts: look again this often.
REFUSED_S = 60.0
_REFUSED = frozenset({"key_unknown", "key_revoked", "frozen", "wrong_location", "authority_wrong", "version",
                      "malformed", "too_large", "not_found", "signature_invalid", "digest_mismatch"})


class State(Enum):
    """How the line to the server is, in the words of `status`."""

    ONLINE = "online"
    OFFLINE = "offline"
    REFUSED = "refused"
    FROZEN = "frozen"


@dataclass(frozen=True)
class SendNext:
    """Send the batch in flight, or freeze the next one; with neither, nothing waits."""


@dataclass(frozen=True)
class Beat:
    """Send a heartbeat; nothing is in flight."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do for so long, unless new changes come (`wakes`) and the line is not backing off."""

    seconds: float
    wakes: bool


@dataclass(frozen=True)
class Settle:
    """The batch in flight is acked: forget it, move the position."""

    ack: Ack


@dataclass(frozen=True)
class NewEpoch:
    """Start a new epoch with a full state of every feed."""

    reason: str


@dataclass(frozen=True)
class Ignore:
    """A late packet: nothing moves."""


Command = SendNext | Beat | Wait
Outcome = Settle | NewEpoch | Ignore


@dataclass
class Uplink:
    """The state of the conversation in memory; a restart begins it anew without harm. Times are seconds."""

    heartbeat_s: float
    state: State = State.OFFLINE
    error: ErrorAnswer | None = None
    tries: int = 0
    quiet_until: float = 0.0
    beat_at: float = 0.0
    #: Whether a refusal for clock or nonce was answered by sending once more at once.
    sent_again: bool = False
    #: Resyncs in a row, with nothing that fitted in between.
    resyncs: int = 0

    def next(self, now: float, *, waiting: bool) -> Command:
        """What to do now; `waiting` says that a batch is in flight or changes could be frozen."""
        if now < self.quiet_until:
            return Wait(self.quiet_until - now, wakes=False)
        if waiting:
            return SendNext()
        if now >= self.beat_at:
            return Beat()
        return Wait(self.beat_at - now, wakes=True)

    def answered(
        self, now: float, answer: Ack | Resync | HeartbeatAnswer | ErrorAnswer, *,
        position: Position, in_flight: FrozenBatch | None, rng: Random,
    ) -> Outcome:
        """Judge a verified answer against the position and the batch in flight."""
        if isinstance(answer, ErrorAnswer):
            return self._refused(now, answer, rng)
        self.state, self.error, self.tries, self.quiet_until = State.ONLINE, None, 0, 0.0
        self.sent_again = False
        if isinstance(answer, Resync):
            return self._resynced(now, answer, position, rng)
        self.resyncs = 0
        if isinstance(answer, HeartbeatAnswer):
            self.beat_at = now + self.heartbeat_s
            return Ignore()
        if in_flight is not None and (answer.epoch, answer.seq, answer.head) == (
            in_flight.epoch, in_flight.seq, in_flight.head
        ):
            return Settle(answer)
        return Ignore()

    def failed(self, now: float, rng: Random) -> None:
        """No verified answer came: captive portal, proxy error, dead line. Keep everything, back off."""
        self.state = State.OFFLINE
        self._back_off(now, rng, None)

    def _resynced(self, now: float, answer: Resync, position: Position, rng: Random) -> NewEpoch | Ignore:
        if answer.answers == position:
            if self.resyncs:  # a new epoch did not help: whatever the reason, no storm of them
                self.quiet_until = now + backoff_s(self.resyncs, rng)
            self.resyncs += 1
        return NewEpoch(answer.reason) if answer.answers == position else Ignore()

    def _refused(self, now: float, answer: ErrorAnswer, rng: Random) -> Ignore:
        self.error = answer
        if answer.code in _REFUSED:
            self.state = State.FROZEN if answer.code == "frozen" else State.REFUSED
            self.quiet_until = now + REFUSED_S
        elif answer.code in ("clock", "replayed") and not self.sent_again:
            self.sent_again = True  # the transport has just corrected the clock or draws a new nonce
        else:
            self._back_off(now, rng, answer.retry_after_s)
        return Ignore()

    def _back_off(self, now: float, rng: Random, at_least: float | None) -> None:
        self.tries += 1
        self.quiet_until = now + max(backoff_s(self.tries, rng), at_least or 0.0)
