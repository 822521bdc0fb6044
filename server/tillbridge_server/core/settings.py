"""Structs of the settings that the rules read; config.py decodes server.toml into them, rules get them as values."""

from decimal import Decimal
from typing import Annotated, Literal, Protocol

import msgspec

#: A field or kind ("price", "product.title") to the feeds that own it, first owner first: "feed" or "location/feed".
Owners = dict[str, tuple[str, ...]]

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern="^[A-Za-z0-9._-]+$")]
Places = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class StorefrontConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One storefront: what may be sold there and how; `buffer` is in pieces, kept back once over the pool.

    `pool` names the locations whose stock it may sell, ["*"] all of them. Sale dates are days of `time_zone`.
    `moving_journals` names the feeds ("location/feed" or "feed") whose sale lines lower a count until the next one,
    and the scanners ("location/device" only) of which each scan does so by one piece.
    """

    id: Id
    title: str
    connector: str
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    pool: Places = ("*",)
    time_zone: str = "UTC"
    buffer: Decimal = Decimal(0)
    activate: Literal["by_hand", "auto"] = "by_hand"
    moving_journals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.buffer.is_finite() or self.buffer < 0:
            raise ValueError("buffer: must be 0 or more pieces")


class BreakerLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Trips when at least `at_least` offers change this way and they are more than `share` (0 to 1) of all shown."""

    share: Share
    at_least: Annotated[int, msgspec.Meta(ge=1)]


class DropLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As BreakerLimit, for prices that fall by more than the part `by` (0.4: to less than 60 % of before)."""

    share: Share
    at_least: Annotated[int, msgspec.Meta(ge=1)]
    by: Share


class BreakersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may change at once in a storefront before a person is asked."""

    to_zero: BreakerLimit = BreakerLimit(share=0.1, at_least=10)
    price_drop: DropLimit = DropLimit(share=0.1, at_least=5, by=0.4)


class Rules(Protocol):
    """What deciding needs of the configuration; ServerConfig is one."""

    @property
    def storefronts(self) -> tuple[StorefrontConfig, ...]: ...  # noqa: D102
    @property
    def breakers(self) -> BreakersConfig: ...  # noqa: D102
    @property
    def owners(self) -> Owners: ...  # noqa: D102


class PlainRules(msgspec.Struct, frozen=True):
    """Rules by themselves, for callers that have no whole configuration."""

    storefronts: tuple[StorefrontConfig, ...] = ()
    breakers: BreakersConfig = BreakersConfig()
    owners: Owners = {}
