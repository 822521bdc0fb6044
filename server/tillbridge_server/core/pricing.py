"""What a storefront asks for a variant: list price, sale price with its dates, the price now; never the cost.

Sale dates are days of the storefront's own zone, both inclusive, so a sale starts by the shop's clock and not
by the till's. A price that is unknown stays unknown: it hides the offer, it never becomes zero.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from tillbridge_protocol.records import Price
from tillbridge_server.core.facts import OBSERVE, Known, Source, price_of
from tillbridge_server.core.ownership import Claim, Conflict, settle

RULE_LIST = "list_price v1"
RULE_SALE = "sale_price v1"
#: Why there is no price, in place of a rule.
NO_PRICE, NO_OWNER = "no_selling_price", "owner_missing"
OTHER_CURRENCY, NOT_POSITIVE = "currency_differs", "price_not_positive"


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale price and its first and last day (ISO dates, storefront's zone); None is open."""

    price: Decimal
    from_: str | None
    to: str | None


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices of an offer; `price_now` None means unknown and `rule` then says why.

    `was` is the list price while a sale runs. `sale` is the running or coming sale, None once it is over.
    """

    currency: str
    list_price: Decimal | None
    sale: Sale | None
    price_now: Decimal | None
    was: Decimal | None
    rule: str
    source: Source | None
    conflict: Conflict | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """A price by what it means, so that 12.9 and 12.90 agree."""

    list_price: Decimal
    currency: str
    sale_price: Decimal | None
    sale_from: str | None
    sale_to: str | None

    def __str__(self) -> str:
        text = f"{self.list_price:f} {self.currency}"
        if self.sale_price is None:
            return text
        return f"{text}, sale {self.sale_price:f} ({self.sale_from or 'open'} to {self.sale_to or 'open'})"


def priced(
    known: Known, *, phases: Mapping[str, str], currency: str, zone: ZoneInfo,
    owners: Mapping[str, Sequence[str]], now: dt.datetime,
) -> Pricing:
    """The prices of a variant in a storefront of this currency and zone at `now` (aware).

    Prices in other currencies are meant for other storefronts: they neither serve nor contradict.
    """
    told = sorted(
        (fact for fact in known.facts
         if fact.kind == "price" and fact.record is not None and phases.get(fact.location) != OBSERVE),
        key=lambda fact: (fact.location, fact.feed, fact.code),
    )
    facts = [fact for fact in told if price_of(fact).currency == currency]
    settled = settle("price", [Claim(fact.location, fact.feed, _said(price_of(fact))) for fact in facts], owners)
    if settled is None:
        return _unknown(currency, OTHER_CURRENCY if told else NO_PRICE, told[0].source if told else None)
    if isinstance(settled, Conflict):
        return _unknown(currency, NO_OWNER, None, settled)
    chosen = next(fact for fact in facts if (fact.location, fact.feed) == (settled.location, settled.feed))
    return _judged(price_of(chosen), chosen.source, now.astimezone(zone).date())


def next_day_starts(zones: Iterable[ZoneInfo], now: dt.datetime) -> dt.datetime | None:
    """The first instant (UTC) after `now` at which a new day begins in any of these zones."""
    starts = []
    for zone in zones:
        tomorrow = now.astimezone(zone).date() + dt.timedelta(days=1)
        starts.append(dt.datetime.combine(tomorrow, dt.time(), tzinfo=zone).astimezone(dt.UTC))
    return min(starts, default=None)


def _judged(price: Price, source: Source, today: dt.date) -> Pricing:
    currency = price.currency
    if price.list_price <= 0:
        return _unknown(currency, NOT_POSITIVE, source)
    sale = _sale(price, today)
    if sale is not None and _runs(sale, today):
        return Pricing(currency, price.list_price, sale, sale.price, price.list_price, RULE_SALE, source)
    return Pricing(currency, price.list_price, sale, price.list_price, None, RULE_LIST, source)


def _sale(price: Price, today: dt.date) -> Sale | None:
    """The sale of a price, if it is one (0 < sale < list, readable dates in order) and not over."""
    if price.sale_price is None or not 0 < price.sale_price < price.list_price:
        return None
    try:
        begin = dt.date.fromisoformat(price.sale_from) if price.sale_from else None
        end = dt.date.fromisoformat(price.sale_to) if price.sale_to else None
    except ValueError:
        return None
    if (end is not None and end < today) or (begin and end and end < begin):
        return None
    return Sale(price.sale_price, begin.isoformat() if begin else None, end.isoformat() if end else None)


def _runs(sale: Sale, today: dt.date) -> bool:
    return sale.from_ is None or dt.date.fromisoformat(sale.from_) <= today


def _said(price: Price) -> _Said:
    return _Said(price.list_price, price.currency, price.sale_price, price.sale_from, price.sale_to)


def _unknown(currency: str, why: str, source: Source | None, conflict: Conflict | None = None) -> Pricing:
    return Pricing(currency, None, None, None, None, why, source, conflict)
