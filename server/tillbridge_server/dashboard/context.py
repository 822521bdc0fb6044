"""What every page is given: the store, the configuration, the clock, the version."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillbridge_server.config import ServerConfig
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.store.database import Store

#: An agent that has missed this many heartbeats in a row is offline.
HEARTBEATS_MISSED = 3


@dataclass(frozen=True)
class DashboardContext:
    """Built once by app.py; `clock` gives aware UTC times, `started_at` is when this process began."""

    store: Store
    config: ServerConfig
    clock: Callable[[], datetime]
    version: str
    started_at: datetime
    #: Called after every deed of a person: offers may have to be decided again, mail may be waiting.
    acted: Callable[[], None] = lambda: None
    #: Called when a storefront of our own has a new order: its intake need not wait for the next sweep.
    ordered: Callable[[], None] = lambda: None

    @property
    def offline_after(self) -> timedelta:
        """How long an agent may be silent before the screens call it offline."""
        return timedelta(seconds=self.config.heartbeat_s * HEARTBEATS_MISSED)

    def window(self, storefront_id: str = "") -> StorefrontConfig | None:
        """The built-in shop window of this id, or the first one; None if there is none."""
        windows = [shop for shop in self.config.storefronts if shop.connector == "shop_window"]
        if storefront_id:
            return next((shop for shop in windows if shop.id == storefront_id), None)
        return windows[0] if windows else None
