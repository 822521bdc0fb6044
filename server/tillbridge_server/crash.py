"""Named crash points: `reach` ends the process there and then when a fault test asked for it, else does nothing.

The test sets TILLBRIDGE_CRASH_AT="name:n": the n-th time `name` is reached, the process is gone without any
clean-up, as after a power cut. Every name stands in CRASH_POINTS, so that a test can go through all of them.
"""

import os
from collections import Counter

CRASH_POINTS = (
    "door.written",
    "store.committing",  # just before any commit at all
    "store.committed",  # the commit is done, nobody has been told yet
    "enroll.received",
    "enroll.committed",
    "batch.received",
    "batch.applying",
    "batch.committed",
    "heartbeat.committed",
    "mail.collected",
    "standings.committed",
    "order.swept",
    "order.taken_in",
    "order.routed",
    "order.mailed",
    "decide.deciding",
    "decide.committed",
    "publish.taken",
    "publish.showing",
    "publish.sent",
    "publish.recorded",
    "backup.written",
    "backup.renamed",
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
