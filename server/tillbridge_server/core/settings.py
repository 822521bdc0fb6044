"""Settings that rules read, decoded from server.toml: storefronts, breakers, owners. A typo in a key is an error."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class StorefrontConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One web shop we publish to. `pool`: location ids it may sell from, ["*"] = all that are not in observe."""

    id: str
    title: str = "Shop window"
    connector: str = "shop_window"
    pool: tuple[str, ...] = ("*",)
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "EUR"
    time_zone: str = "UTC"
    buffer: Decimal = Decimal(0)
    activate: Literal["by_hand", "auto"] = "by_hand"


class BreakerLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Trips when more than `share` and at least `at_least` offers change so; `by` is the drop that counts as one."""

    share: Share
    at_least: Annotated[int, msgspec.Meta(ge=1)]
    by: Share = 0.4


class BreakersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits on how much may change at once before a person is asked (DESIGN §5.14)."""

    to_zero: BreakerLimit = BreakerLimit(share=0.1, at_least=10)
    price_drop: BreakerLimit = BreakerLimit(share=0.1, at_least=5, by=0.4)


#: kind of record -> ordered list of "feed" or "location/feed" that own it
Owners = dict[str, tuple[str, ...]]
