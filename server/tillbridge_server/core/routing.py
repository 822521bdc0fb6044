"""Which location an order goes to: one that has all of it, is switched on for orders, and can take them in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tillbridge_server.core.availability import available, in_pool
from tillbridge_server.core.facts import Known
from tillbridge_server.core.orders import StorefrontLine
from tillbridge_server.core.settings import Owners

#: Phases in which a location takes orders.
TAKES_ORDERS = frozenset({"orders", "everything"})

#: So many locations are named beside a reason; a chain may have hundreds that share one.
NAMED_MAX = 6


@dataclass(frozen=True, slots=True)
class Candidate:
    """One location as routing sees it: its phase, the agent that can place orders there, what hinders that agent."""

    location: str
    phase: str
    agent: str | None
    hindered: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """The chosen location and its agent, or none and why not, by location."""

    location: str | None
    agent: str | None
    why_not: Mapping[str, str]

    @property
    def message(self) -> str:
        """Why no location was chosen, in one line; a reason that many share is told once and names a few of them."""
        sharing: dict[str, list[str]] = {}
        for location, why in sorted(self.why_not.items()):
            sharing.setdefault(why, []).append(location or "The pool")
        return " ".join(f"{_some(places)}: {why}" for why, places in sharing.items())


def route(
    lines: Sequence[StorefrontLine], known: Mapping[str, Known], candidates: Sequence[Candidate], *,
    pool: Sequence[str], owners: Owners, moving: Sequence[str] = (), wanted: str | None = None,
) -> Route:
    """Choose a location; `wanted` is one that a person has chosen, who may send an order where it is short.

    Of those that hold every line the one that keeps most over its scarcest line is chosen, the first by id when
    equal. `known` has every variant of the lines, with the reservations that are open without this order.
    """
    why_not: dict[str, str] = {}
    fits: list[tuple[Decimal, str, str]] = []
    for one in sorted(candidates, key=lambda candidate: candidate.location):
        if wanted is not None and one.location != wanted:
            continue
        if not in_pool(pool, one.location) and wanted is None:
            continue
        if one.phase not in TAKES_ORDERS:
            why_not[one.location] = "is not switched on for orders."
        elif one.agent is None:
            why_not[one.location] = one.hindered or "has no agent that takes orders."
        elif (least := _surplus(lines, known, one.location, owners, moving)) is None and wanted is None:
            why_not[one.location] = "does not know all of it."
        elif least is not None and least < 0 and wanted is None:
            why_not[one.location] = "has too little of it."
        else:
            fits.append((-(least or Decimal(0)), one.location, one.agent))
    if fits:
        _, location, agent = min(fits)
        return Route(location, agent, {})
    return Route(None, None, why_not or {"": "has no location."})


def _some(places: Sequence[str]) -> str:
    more = f" and {len(places) - NAMED_MAX} more" if len(places) > NAMED_MAX else ""
    return ", ".join(places[:NAMED_MAX]) + more


def _surplus(
    lines: Sequence[StorefrontLine], known: Mapping[str, Known], location: str, owners: Owners, moving: Sequence[str],
) -> Decimal | None:
    """What the location keeps of the scarcest variant after these lines; None when it does not know one of them."""
    wanted: dict[str, Decimal] = {}
    for line in lines:
        wanted[line.variant] = wanted.get(line.variant, Decimal(0)) + line.quantity
    left: list[Decimal] = []
    for variant, pieces in wanted.items():
        stock = available(
            known[variant], pool=(location,), phases={location: "orders"}, buffer=Decimal(0), owners=owners,
            moving=moving,
        )
        if stock.unclamped is None:
            return None
        left.append(stock.unclamped - pieces)
    return min(left)
