"""Whether a storefront shows an offer at all, and every reason why not."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tillbridge_server.core.availability import Availability, in_pool
from tillbridge_server.core.facts import OBSERVE, Known
from tillbridge_server.core.pricing import Pricing

LIVE, HIDDEN, HELD = "live", "hidden", "held"

#: Reasons in the order they are told, each with the sentence that tells it.
REASONS = {
    "not_activated": "Nobody has activated this variant for the storefront yet.",
    "price_unknown": "No selling price is known; a purchase price is never shown.",
    "location_observes": "Every location of the pool that knows it is in phase observe.",
    "no_stock_known": "No location of the pool has ever listed this variant.",
    "owner_missing": "Feeds disagree and none of them is named as owner.",
    "to_zero": "Held by a breaker: too many offers would go to zero at once.",
    "price_drop": "Held by a breaker: too many prices would fall at once.",
    "rejected": "A person rejected this change; the storefront keeps what it shows.",
    "refused": "The storefront refused this value; see the dead letters.",
}


@dataclass(frozen=True, slots=True)
class Visibility:
    """`state` is live, hidden or held; `why` lists the REASONS, empty when live."""

    state: str
    why: tuple[str, ...] = ()


def visibility(
    *, activated: bool, pricing: Pricing, availability: Availability, pool: Sequence[str], phases: Mapping[str, str],
    observed: Collection[str] = (),
) -> Visibility:
    """Live, or hidden with all reasons at once. A conflict hides nothing by itself: it holds (see offers).

    `observed` are the kinds of fact that a location in phase observe has told: not used, but not unknown either.
    """
    usable = [location for location in phases if in_pool(pool, location)]
    no_price = pricing.price_now is None and pricing.conflict is None
    no_stock = availability.value is None and availability.conflict is None
    reasons = {
        "not_activated": not activated,
        "price_unknown": no_price and "price" not in observed,
        "location_observes": (bool(usable) and all(phases[location] == OBSERVE for location in usable))
        or (no_price and "price" in observed) or (no_stock and "stock_level" in observed),
        "no_stock_known": no_stock and "stock_level" not in observed,
    }
    why = tuple(reason for reason in REASONS if reasons.get(reason))
    return Visibility(HIDDEN if why else LIVE, why)


def observed_kinds(known: Known, pool: Sequence[str], phases: Mapping[str, str]) -> frozenset[str]:
    """The kinds of fact that locations in phase observe tell of a variant; stock counts within the pool only."""
    return frozenset(
        fact.kind for fact in known.facts
        if fact.record is not None and phases.get(fact.location) == OBSERVE
        and (fact.kind != "stock_level" or in_pool(pool, fact.location))
    )
