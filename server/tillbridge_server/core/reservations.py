"""When reserved pieces are counted: our sale line was seen, and a count that starts later includes it (DESIGN §5.12).

If unsure the reservation stays: undersell rather than oversell.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tillbridge_server.core.availability import in_pool, is_moving
from tillbridge_server.core.settings import StorefrontConfig

#: The as-of kinds that are told by the till's own clock; the other one, observed, is told by the agent's.
_TILL_CLOCK = frozenset({"data", "file_name", "sequence"})


@dataclass(frozen=True, slots=True)
class Sale:
    """Pieces sold under our number; `at` by the till's clock, `captured_at` by the agent's; `moves` says that the
    journal it stands in lowers the stock by itself in every storefront that sells this location."""

    quantity: Decimal
    at: dt.datetime
    captured_at: dt.datetime | None
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """When the stock that is known of the variant at the location was true, at the earliest, and how we know."""

    begin: dt.datetime
    kind: str


def moves_itself(location: str, feed: str, storefronts: Sequence[StorefrontConfig]) -> bool:
    """Whether a journal's sale lines lower the stock by themselves in every storefront that sells this location."""
    selling = [shop for shop in storefronts if in_pool(shop.pool, location)]
    return bool(selling) and all(is_moving(location, feed, shop.moving_journals) for shop in selling)


def counted(sales: Sequence[Sale], counts: Sequence[Count]) -> Decimal:
    """How many of the sold pieces every one of these counts surely includes; negative sales (returns) lower it.

    A return counts at once: it makes the proof smaller, never larger.
    """
    included = (sale.quantity for sale in sales if sale.quantity < 0 or _included(sale, counts))
    return max(sum(included, Decimal(0)), Decimal(0))


def share_out(pieces: Decimal, quantities: Sequence[Decimal]) -> list[Decimal]:
    """The pieces over several lines of one variant, first line first, none above its quantity."""
    shares = []
    for quantity in quantities:
        share = min(pieces, quantity)
        shares.append(share)
        pieces -= share
    return shares


def _included(sale: Sale, counts: Sequence[Count]) -> bool:
    return sale.moves or (bool(counts) and all(_starts_later(count, sale) for count in counts))


def _starts_later(count: Count, sale: Sale) -> bool:
    if count.kind in _TILL_CLOCK:
        return count.begin > sale.at
    return sale.captured_at is not None and count.begin >= sale.captured_at
