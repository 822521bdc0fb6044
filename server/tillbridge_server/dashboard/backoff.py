"""How long wrong passwords make one wait: pure counting per account and address, bounded in memory."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Tries before the first pause; a pair is one account from one address.
PAIR_TRIES = 5
#: Tries before a whole account or a whole address pauses: higher, so that nobody locks others out easily.
WIDE_TRIES = 25
FIRST_PAUSE = timedelta(minutes=5)
LONGEST_PAUSE = timedelta(hours=1)
FORGET_AFTER = timedelta(hours=12)
#: At this bound the longest untouched entry is forgotten.
ENTRIES_MAX = 10_000


@dataclass
class _Entry:
    wrong: int
    at: datetime
    until: datetime | None


class Tries:
    """Counts wrong passwords. `begin` before a password is looked at, `right` after it was right."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def pause(self, account: str, address: str, now: datetime) -> timedelta | None:
        """How long this account must still wait at this address; None: it may try."""
        waits = [self._entries[key].until for key, _ in _keys(account, address) if key in self._entries]
        left = max((until - now for until in waits if until is not None), default=timedelta(0))
        return left if left > timedelta(0) else None

    def begin(self, account: str, address: str, now: datetime) -> int:
        """Count one try as wrong until `right` says otherwise; returns the tries left before a pause."""
        for key, limit in _keys(account, address):
            entry = self._entries.pop(key, None)
            if entry is None or now - entry.at > FORGET_AFTER:
                entry = _Entry(0, now, None)
            entry.wrong, entry.at = entry.wrong + 1, now
            over = entry.wrong - limit
            entry.until = now + min(FIRST_PAUSE * 2**min(over, 8), LONGEST_PAUSE) if over >= 0 else None
            self._entries[key] = entry
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
        return max(0, PAIR_TRIES - self._entries[_keys(account, address)[0][0]].wrong)

    def right(self, account: str, address: str) -> None:
        """The password was right: this pair starts afresh, and the wide counts lose this try."""
        pair, *wide = [key for key, _ in _keys(account, address)]
        self._entries.pop(pair, None)
        for key in wide:
            entry = self._entries.get(key)  # gone when the bound was reached meanwhile
            if entry is not None:
                entry.wrong -= 1
                entry.until = None if entry.wrong < WIDE_TRIES else entry.until


def _keys(account: str, address: str) -> list[tuple[str, int]]:
    name = account.strip().casefold()[:200]
    return [(f"p {name} {address}", PAIR_TRIES), (f"a {name}", WIDE_TRIES), (f"h {address}", WIDE_TRIES)]
