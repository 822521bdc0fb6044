"""How far the shop window ever showed more than it may promise, pure: from writes, sights and what the demo bought.

What may be promised is the stock on hand of an export less what the demo itself bought and that export does not
count yet. Neither the server's reservations nor its order states are asked: they are what is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tests.demo.compare import Sight, State, states
from tests.demo.truth import Write

SAMPLE_S = 0.05
#: A settled export, or a purchase, may be on its way for so long before showing more is held against the window.
ON_THE_WAY_S = 2.0


@dataclass(frozen=True, slots=True)
class Purchase:
    """Pieces of one code bought in the shop window at `at` (seconds since 1970).

    `export` is the number of the first export that counts them, None while none does.
    """

    at: float
    code: str
    pieces: Decimal
    export: int | None = None

    def is_open(self, at: float, write: Write) -> bool:
        """Whether a window that shows this export at this moment has to show so many pieces less."""
        return at >= self.at + ON_THE_WAY_S and (self.export is None or write.n < self.export)


def max_excess(
    base: State, writes: Sequence[Write], sights: Sequence[Sight], *, settle_s: float, since: float, until: float,
    purchases: Sequence[Purchase] = (),
) -> Decimal:
    """The most pieces the shop window ever showed above what it may promise, sampled every 50 ms.

    At any moment it may show the last export that settled ON_THE_WAY_S ago or any later one that is complete;
    what counts is how far it is above the highest of them.
    """
    held = states(base, writes)
    due = _due(writes, settle_s)
    shown: dict[str, Decimal] = {}
    worst, place, at = Decimal(0), 0, since
    while at <= until:
        while place < len(sights) and sights[place].at <= at:
            value = sights[place].value
            shown[sights[place].code] = Decimal(0) if value is None else value.stock
            place += 1
        oldest = max((k for k, moment in enumerate(due) if moment <= at), default=None)
        if oldest is not None:
            allowed = [
                (held[k], _reserved(purchases, at, writes[k]))
                for k in range(oldest, len(writes)) if k == oldest or writes[k].ended_at <= at
            ]
            for code, stock in shown.items():
                worst = max(worst, stock - _most(allowed, code))
        at += SAMPLE_S
    return worst


def _reserved(purchases: Sequence[Purchase], at: float, write: Write) -> dict[str, Decimal]:
    """The pieces of each code that are bought and not in this export."""
    reserved: dict[str, Decimal] = {}
    for purchase in purchases:
        if purchase.is_open(at, write):
            reserved[purchase.code] = reserved.get(purchase.code, Decimal(0)) + purchase.pieces
    return reserved


def _most(allowed: Sequence[tuple[State, dict[str, Decimal]]], code: str) -> Decimal:
    promises = (
        state[code].stock - reserved.get(code, Decimal(0)) for state, reserved in allowed if code in state
    )
    return max(promises, default=Decimal(0)).max(Decimal(0))


def _due(writes: Sequence[Write], settle_s: float) -> list[float]:
    """When each write has to be shown; one that was overwritten before it settled never has to."""
    moments = []
    for write, after in zip(writes, [*writes[1:], None], strict=True):
        settled = write.ended_at + settle_s
        stood = after is None or after.started_at >= settled
        moments.append(settled + ON_THE_WAY_S if stood else float("inf"))
    return moments
