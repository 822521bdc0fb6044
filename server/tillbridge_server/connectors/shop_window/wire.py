"""How the shop window keeps what it shows: the canonical text of a shown value, or of nothing."""

from tillbridge_server.core.offers import Shown, decode_shown, encode
from tillbridge_server.core.publishing import Item


def text_of(item: Item) -> str:
    """The value of window_item for a pushed item."""
    return encode(item.shown)


def shown_of(text: str) -> Shown | None:
    """What shoppers see of a value of window_item; None when it is hidden."""
    return decode_shown(text)
