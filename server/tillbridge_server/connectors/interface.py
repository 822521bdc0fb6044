"""What every connector must do, and what it is given; adding one is a folder and one line in CONNECTORS."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tillbridge_server.core.offers import Shown
from tillbridge_server.core.orders import StorefrontOrder
from tillbridge_server.core.publishing import Item, Outcome
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.store.database import Store


class Connector(Protocol):
    """The adapter to one storefront.

    `push` must bear repeats: the same item twice leaves the storefront as once. What it neither accepts nor
    rejects is kept and sent again. It raises TryLater when the storefront cannot be reached or asks to slow
    down, and Refused when the storefront finally refused the whole push (it is then sent in smaller parts
    until the item at fault is alone). Any other exception means that the outcome is unknown: sent again.
    """

    async def push(self, items: Sequence[Item]) -> Outcome:
        """Tell the storefront what to show from now on for these variants."""
        ...

    async def read_back(self) -> Mapping[str, Shown]:
        """What the storefront shows now, by variant; hidden ones are missing. Raises TryLater."""
        ...

    async def orders(self, after: int, limit: int) -> Sequence[StorefrontOrder]:
        """Its orders behind this position, at most `limit`, lowest position first; none where it takes no orders.

        Once a position was told, no order ever appears at or before it. Raises TryLater.
        """
        return ()


@dataclass(frozen=True)
class Given:
    """What a connector is built from; `clock` gives aware UTC times."""

    storefront: StorefrontConfig
    store: Store
    clock: Callable[[], dt.datetime]


MakeConnector = Callable[[Given], Connector]
