"""Named crash points: `reach` ends the process there and then when a fault test asked for it, else does nothing.

The test sets TILLBRIDGE_CRASH_AT="name:n": the n-th time `name` is reached, the process is gone without any
clean-up, as after a power cut. Every name stands in CRASH_POINTS, so that a test can go through all of them.
"""

import os
from collections import Counter

#: On the way of a web order into the till and of the till's answer back.
ORDER_POINTS = (
    "order.received",
    "standings.writing",
    "standings.applied",
    "order.reserved",
    "mark.written",
    "spool.written",
    "spool.synced",
    "order.ready",
    "mark.moving",
    "order.renamed",
    "order.folder_synced",
    "order.published",
    "order.taken",
    "answer.read",
    "answer.taken",
)
CRASH_POINTS = (
    "enroll.sending",
    "enroll.answered",
    "identity.written",
    "identity.renamed",
    "door.written",
    "store.committing",  # just before any commit at all
    "store.committed",  # the commit is done, nobody has been told yet
    "stage.written",
    "stage.renamed",
    "capture.writing",
    "capture.committed",
    "copies.deleted",
    "hold.committed",
    "quarantine.committed",
    "seen_again.committed",
    "journal.writing",
    "journal.committed",
    "freeze.writing",
    "freeze.committed",
    "send.before",
    "send.answered",
    "ack.writing",
    "ack.committed",
    "resync.committed",
    "beat.answered",
    "mail.received",
    "mail.dealt",
    *ORDER_POINTS,
)
EXIT_CODE = 137
_reached: Counter[str] = Counter()
_wanted, _, _count = os.environ.get("TILLBRIDGE_CRASH_AT", "").partition(":")


def reach(name: str) -> None:
    """Pass a named point; only a fault test makes this one not return."""
    assert name in CRASH_POINTS, name
    if name == _wanted:
        _reached[name] += 1
        if _reached[name] >= int(_count or 1):
            os._exit(EXIT_CODE)
