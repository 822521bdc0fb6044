"""Pure rules of the inbox: what a batch, a heartbeat or a boot id means for what the server knows of an agent.

Numbers alone are not enough: an agent restored from a backup reuses sequence numbers with other content, a
restored server has never seen positions the agent has acks for, and a lost queue starts again. So a batch is
taken only when it continues the hash chain we hold, a repeat only when its bytes are the same bytes, and
everything else asks the agent for a new epoch with a full state (DESIGN §5.4).
"""

import datetime as dt
from dataclasses import dataclass
from enum import Enum

#: A returned boot id is a clone only when its request was made this much after the newer one appeared.
CLONE_TOLERANCE_S = 2.0
#: Boot ids remembered per agent; older ones cannot be told from new ones any more.
BOOTS_KEPT_MAX = 50


class Verdict(Enum):
    """What to do with a batch or a position."""

    APPLY = "apply"
    BEGIN = "begin"  # apply, and this epoch is the current one from now on
    REPEAT = "repeat"  # acked again, nothing moves
    BEHIND = "behind"  # the agent is behind what it sent before: it was restored
    AHEAD = "ahead"  # the agent is ahead of us: we were restored
    FORK = "fork"  # same position, other bytes
    OLD_EPOCH = "old_epoch"  # an epoch that was superseded
    ASKED = "asked"  # a person asked for a full state
    SAME = "same"  # positions agree


@dataclass(frozen=True)
class Known:
    """What the server holds of one agent's outbox; epoch None before the first batch ever."""

    epoch: str | None
    seq: int
    head: str
    resync_asked: bool = False


def judge_batch(
    known: Known, *, epoch: str, seq: int, prev: str, head: str, epoch_seen: bool, logged_head: str | None,
) -> Verdict:
    """What to do with batch (epoch, seq, prev, head); `logged_head` is what we applied at this position, if any."""
    if epoch != known.epoch:
        if epoch_seen:
            return Verdict.OLD_EPOCH
        return Verdict.BEGIN if seq == 1 and prev == "" else Verdict.AHEAD
    if seq <= known.seq:
        return Verdict.REPEAT if logged_head == head else Verdict.FORK
    if known.resync_asked:
        return Verdict.ASKED
    if seq == known.seq + 1 and prev == known.head:
        return Verdict.APPLY
    return Verdict.AHEAD


def judge_position(known: Known, *, epoch: str, seq: int, head: str, epoch_seen: bool) -> Verdict:
    """What an agent's acked position, sent while nothing is in flight, says about both sides.

    An epoch we have never seen at seq 0 is simply one whose first batch is still to come.
    """
    if epoch != known.epoch:
        if epoch_seen:
            return Verdict.OLD_EPOCH
        return Verdict.SAME if seq == 0 else Verdict.AHEAD
    if known.resync_asked:
        return Verdict.ASKED
    if (seq, head) == (known.seq, known.head):
        return Verdict.SAME
    return Verdict.AHEAD if seq > known.seq else Verdict.BEHIND if seq < known.seq else Verdict.FORK


class BootVerdict(Enum):
    """What the boot id and counter of a request say about the machine behind it."""

    FINE = "fine"
    STALE = "stale"  # a late packet, or a machine restored while running: no effect, ask for a new epoch
    EARLY = "early"  # in the same second as the boot before: a new start or a late packet, asked again
    CLONE = "clone"  # two machines use one identity


@dataclass(frozen=True)
class Boots:
    """Boot ids seen, oldest first, each with when its first request was made.

    `n` counts the newest one's requests and `last` is when its latest one was made; None stands for its first.
    """

    seen: tuple[tuple[str, dt.datetime], ...]
    n: int
    last: dt.datetime | None = None


def judge_boot(boots: Boots, *, boot: str, n: int, created: dt.datetime) -> tuple[BootVerdict, Boots]:
    """Judge a request of the batch lane; boot ids A, B, A mean a clone, a counter going back a restored machine.

    A boot nobody has heard of may still be an old one whose packets were late: it is a new start only when it was
    made after everything the newest boot made. `created` has whole seconds, so within one second nobody can tell.
    """
    if not boots.seen:
        return BootVerdict.FINE, Boots(((boot, created),), n, created)
    newest, since = boots.seen[-1]
    last = boots.last or since
    if boot == newest:
        if n <= boots.n:
            return BootVerdict.STALE, boots
        return BootVerdict.FINE, Boots(boots.seen, n, max(last, created))
    if any(boot == old for old, _ in boots.seen):
        late = (created - since).total_seconds() <= CLONE_TOLERANCE_S
        return (BootVerdict.STALE if late else BootVerdict.CLONE), boots
    if created <= last:
        return (BootVerdict.STALE if created < last else BootVerdict.EARLY), boots
    return BootVerdict.FINE, Boots((*boots.seen, (boot, created))[-BOOTS_KEPT_MAX:], n, created)
