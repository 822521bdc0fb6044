"""A storefront that tells orders and nothing else, and fails when it is told to."""

from collections.abc import Mapping, Sequence

from tillbridge_server.core.offers import Shown
from tillbridge_server.core.orders import StorefrontOrder
from tillbridge_server.core.publishing import Item, Outcome
from tillbridge_server.errors import TryLater


class OrderBook:
    """Orders in a list; `down` makes it unreachable."""

    def __init__(self) -> None:
        self.book: list[StorefrontOrder] = []
        self.down = False
        self.asked: list[int] = []

    async def push(self, items: Sequence[Item]) -> Outcome:
        """Accepts everything."""
        return Outcome(accepted=frozenset(item.variant for item in items))

    async def read_back(self) -> Mapping[str, Shown]:
        """Shows nothing."""
        return {}

    async def orders(self, after: int, limit: int) -> Sequence[StorefrontOrder]:
        """What stands behind a position."""
        self.asked.append(after)
        if self.down:
            raise TryLater("The storefront cannot be reached.")
        return sorted((one for one in self.book if one.position > after), key=lambda one: one.position)[:limit]
