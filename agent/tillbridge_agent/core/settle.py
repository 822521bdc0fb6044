"""When a file counts as settled: its size, time and identity have stayed the same for the settle time. Pure.

A POS may write for minutes in place, so nothing is read while anything moves. The files that come back are
believed to be whole only after the trust gate; settling alone proves nothing about their end.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Look:
    """What one look says: settled names in the order given, names still moving, and when to look again (seconds)."""

    settled: tuple[str, ...]
    pending: tuple[str, ...]
    again_at: float | None


@dataclass
class Settling:
    """Remembers since when each file has looked the same; times are seconds on one monotonic clock."""

    settle_s: float
    #: signature, since when it is the same, and when the file counts as settled
    _since: dict[str, tuple[Hashable, float, float]] = field(default_factory=dict)
    _done: dict[str, Hashable] = field(default_factory=dict)

    def look(self, listing: Iterable[tuple[str, Hashable]], now: float) -> Look:
        """Judge a listing of (name, signature); files that are done and unchanged are left out."""
        current = dict(listing)
        self._since = {name: kept for name, kept in self._since.items() if name in current}
        self._done = {name: kept for name, kept in self._done.items() if name in current}
        settled, pending, deadlines = [], [], []
        for name, signature in current.items():
            if self._done.get(name) == signature:
                continue
            known = self._since.get(name)
            if known is None or known[0] != signature:
                self._since[name] = known = (signature, now, now + self.settle_s)
            due = known[2]
            if now >= due:
                settled.append(name)
            else:
                pending.append(name)
                deadlines.append(due)
        return Look(tuple(settled), tuple(pending), min(deadlines, default=None))

    def stood_s(self, name: str, now: float) -> float:
        """How long the file has looked as it does."""
        known = self._since.get(name)
        return 0.0 if known is None else now - known[1]

    def done(self, name: str, signature: Hashable) -> None:
        """This state of the file was dealt with; it comes back only when it changes."""
        self._done[name] = signature

    def wait(self, name: str, now: float) -> None:
        """Not whole yet although it stood still: it has to settle once more."""
        if name in self._since:
            signature, since, _ = self._since[name]
            self._since[name] = (signature, since, now + self.settle_s)

    def again(self) -> None:
        """Look at every file as if it had just come."""
        self._done.clear()
