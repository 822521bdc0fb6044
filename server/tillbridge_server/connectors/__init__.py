"""Adapters to storefronts, by the name that `connector` has in server.toml."""

from tillbridge_server.connectors.interface import Connector, Given, MakeConnector
from tillbridge_server.connectors.shop_window.connector import ShopWindow
from tillbridge_server.errors import ConfigError

CONNECTORS: dict[str, MakeConnector] = {
    "shop_window": ShopWindow,
}


def make_connector(given: Given, file: str) -> Connector:
    """The connector of a storefront. Raises ConfigError naming `file` when there is none of this name."""
    make = CONNECTORS.get(given.storefront.connector)
    if make is None:
        key = f"storefronts[{given.storefront.id}].connector"
        known = ", ".join(sorted(CONNECTORS))
        raise ConfigError(file, key, f"there is no connector {given.storefront.connector!r}.", f"Use one of: {known}.")
    return make(given)
