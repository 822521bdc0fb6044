"""The offer: what a storefront should show for a variant and why, and the value a shopper would see of it.

An offer has parts (stock, price, text, visible). What is held is a part, not the whole: while a fall in price
waits for a person, the stock of the same variant goes on being published, or the shop would sell what is gone.
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from tillbridge_server.core.availability import Availability, available
from tillbridge_server.core.facts import OBSERVE, Known, Source, product_of
from tillbridge_server.core.ownership import Claim, Conflict, settle
from tillbridge_server.core.pricing import Pricing, priced
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.core.visibility import HELD, HIDDEN, LIVE, Visibility, observed_kinds, visibility

STOCK, PRICE, TEXT, VISIBLE = "stock", "price", "text", "visible"
#: The value that takes an item off a storefront.
HIDE = '{"hide":true}'
#: Bumped when a rule changes what offers come out; everything is then decided again.
RULES_VERSION = 2


class ShownSale(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A sale price with its first and last day (ISO dates of the storefront's zone); None is open."""

    price: Decimal
    from_: str | None
    to: str | None


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """What shoppers see of an offer; this and nothing else goes to connectors.

    `through` is the position of this storefront's latest order that `available` already accounts for.
    """

    variant: str
    codes: tuple[str, ...]
    title: str | None
    available: Decimal
    currency: str
    list_price: Decimal
    sale: ShownSale | None
    price_now: Decimal
    was: Decimal | None
    through: int = 0


class OfferValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """An offer as it is stored: what should be shown, with the reasons, None where unknown."""

    variant: str
    codes: tuple[str, ...]
    title: str | None
    available: Decimal | None
    unclamped: Decimal | None
    currency: str
    list_price: Decimal | None
    sale: ShownSale | None
    price_now: Decimal | None
    was: Decimal | None
    why: tuple[str, ...]
    through: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """What one storefront should show for one variant, with everything that explains it."""

    storefront: str
    variant: str
    codes: tuple[str, ...]
    title: str | None
    title_source: Source | None
    availability: Availability
    pricing: Pricing
    visibility: Visibility
    conflicts: tuple[tuple[str, Conflict], ...] = ()  # (part, conflict)
    through: int = 0

    @property
    def sale(self) -> ShownSale | None:
        """The sale as shoppers see it."""
        sale = self.pricing.sale
        return None if sale is None else ShownSale(_digits(sale.price), sale.from_, sale.to)


def make_offer(
    known: Known, *, storefront: StorefrontConfig, phases: Mapping[str, str],
    owners: Mapping[str, Sequence[str]], activated: bool, now: dt.datetime,
) -> Offer:
    """The offer of a variant in a storefront at `now`; pure and the same for the same facts."""
    stock = available(
        known, pool=storefront.pool, phases=phases, buffer=storefront.buffer, owners=owners,
        moving=storefront.moving_journals,
    )
    pricing = priced(
        known, phases=phases, currency=storefront.currency, zone=ZoneInfo(storefront.time_zone), owners=owners, now=now,
    )
    title, title_source, title_conflict = _title(known, phases, owners)
    seen = visibility(
        activated=activated, pricing=pricing, availability=stock, pool=storefront.pool, phases=phases,
        observed=observed_kinds(known, storefront.pool, phases),
    )
    found = ((STOCK, stock.conflict), (PRICE, pricing.conflict), (TEXT, title_conflict))
    conflicts = tuple((part, conflict) for part, conflict in found if conflict is not None)
    through = known.orders_through.get(storefront.id, 0)
    return Offer(
        storefront.id, known.variant, known.codes, title, title_source, stock, pricing, seen, conflicts, through,
    )


def wanted(offer: Offer, shown: Shown | None, kept: Collection[str]) -> Shown | None:
    """What the storefront should show when the `kept` parts stay as `shown`; None is nothing.

    A kept part of which nothing is shown yet cannot be made up: then nothing is shown.
    """
    if kept and shown is None:
        return None
    if offer.visibility.state == HIDDEN:
        return _kept_visible(offer, shown) if shown is not None and VISIBLE in kept else None
    value, through, pricing = offer.availability.value, offer.through, offer.pricing
    if shown is not None and STOCK in kept:
        value, through = shown.available, shown.through
    assert value is not None, "a live offer knows its stock or keeps it"
    title = shown.title if shown is not None and TEXT in kept else offer.title
    if shown is not None and PRICE in kept:
        return msgspec.structs.replace(shown, codes=offer.codes, title=title, available=value, through=through)
    assert pricing.list_price is not None, "a live offer has a price or keeps it"
    assert pricing.price_now is not None, "a list price gives a price now"
    return Shown(
        variant=offer.variant, codes=offer.codes, title=title, available=value, currency=pricing.currency,
        list_price=_digits(pricing.list_price), sale=offer.sale, price_now=_digits(pricing.price_now),
        was=None if pricing.was is None else _digits(pricing.was), through=through,
    )


def state_with(offer: Offer, kept: Collection[str], reasons: Sequence[str]) -> Visibility:
    """The offer's state and reasons once it is known what is held."""
    if not kept:
        return offer.visibility
    why = dict.fromkeys((*offer.visibility.why, *reasons))
    return Visibility(HELD, tuple(why))


def stored(offer: Offer, state: Visibility) -> OfferValue:
    """The offer as a row keeps it."""
    pricing, stock = offer.pricing, offer.availability
    return OfferValue(
        variant=offer.variant, codes=offer.codes, title=offer.title, available=stock.value, unclamped=stock.unclamped,
        currency=pricing.currency, list_price=pricing.list_price, sale=offer.sale, price_now=pricing.price_now,
        was=pricing.was, why=state.why, through=offer.through,
    )


def shown_from_stored(value: OfferValue) -> Shown | None:
    """What shoppers would see of a stored offer that is live; None if it lacks stock or price."""
    if value.available is None or value.list_price is None or value.price_now is None:
        return None
    return Shown(
        variant=value.variant, codes=value.codes, title=value.title, available=value.available,
        currency=value.currency, list_price=value.list_price, sale=value.sale, price_now=value.price_now, was=value.was,
        through=value.through,
    )


def encode(value: Shown | OfferValue | None) -> str:
    """A value as JSON text, decimals as strings; None (nothing shown) is HIDE. Equal values are equal text."""
    return HIDE if value is None else _ENCODER.encode(value).decode()


def decode_shown(text: str | None) -> Shown | None:
    """The reverse of `encode` for what shoppers see; None for HIDE and for None."""
    return None if text is None or text == HIDE else _SHOWN.decode(text)


def decode_stored(text: str) -> OfferValue:
    """The reverse of `encode` for a stored offer."""
    return _STORED.decode(text)


def fingerprint(text: str) -> str:
    """What identifies a value or a part of one: SHA-256 of its text, 32 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def candidate_fingerprint(offer: Offer) -> str:
    """The fingerprint of what shoppers would see if nothing were held."""
    if offer.visibility.state == LIVE and not offer.conflicts:
        return fingerprint(encode(wanted(offer, None, ())))
    return fingerprint(HIDE + repr(offer.conflicts))


_ENCODER = msgspec.json.Encoder(decimal_format="string")
_SHOWN = msgspec.json.Decoder(Shown)
_STORED = msgspec.json.Decoder(OfferValue)


def _title(
    known: Known, phases: Mapping[str, str], owners: Mapping[str, Sequence[str]],
) -> tuple[str | None, Source | None, Conflict | None]:
    told = sorted(
        (fact for fact in known.facts
         if fact.kind == "product" and fact.record is not None and phases.get(fact.location) != OBSERVE
         and product_of(fact).title),
        key=lambda fact: (fact.location, fact.feed, fact.code),
    )
    claims = [Claim(fact.location, fact.feed, product_of(fact).title) for fact in told]
    settled = settle("product.title", claims, owners)
    if settled is None:
        return None, None, None
    if isinstance(settled, Conflict):
        return None, None, settled
    source = next(fact.source for fact in told if (fact.location, fact.feed) == (settled.location, settled.feed))
    return settled.value, source, None


def _kept_visible(offer: Offer, shown: Shown) -> Shown:
    """A held disappearance: all stays as shown, except that fewer pieces are told at once."""
    value = offer.availability.value
    if value is None or value <= 0 or value >= shown.available:
        return shown
    return msgspec.structs.replace(shown, available=value, through=offer.through)


def _digits(amount: Decimal) -> Decimal:
    """The amount with the digits it was written with, without exponent."""
    return Decimal(format(amount, "f"))
