"""Visibility: live only when activated, priced and counted; every reason is told at once."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from tests.unit.server.made import NOW, known, price, stock

from tillbridge_server.core.availability import available
from tillbridge_server.core.facts import Fact
from tillbridge_server.core.pricing import priced
from tillbridge_server.core.visibility import REASONS, Visibility, observed_kinds, visibility

OPEN = {"mallow": "stock_and_price"}


def seen(*facts: Fact, activated: bool = True, phases: dict[str, str] | None = None,
         pool: tuple[str, ...] = ("*",)) -> Visibility:
    """The visibility these facts give."""
    chain = OPEN if phases is None else phases
    what = known(*facts)
    return visibility(
        activated=activated, pool=pool, phases=chain,
        pricing=priced(what, phases=chain, currency="CHF", zone=ZoneInfo("UTC"), owners={}, now=NOW),
        availability=available(what, pool=pool, phases=chain, buffer=Decimal(0), owners={}),
        observed=observed_kinds(what, pool, chain),
    )


def test_activated_priced_and_counted_is_live() -> None:
    """Also when nothing is left: zero is told, not hidden."""
    assert seen(price("3.00"), stock("2")) == Visibility("live")
    assert seen(price("3.00"), stock("0")) == Visibility("live")


@pytest.mark.parametrize(("facts", "activated", "why"), [
    ((price("3.00"), stock("2")), False, ("not_activated",)),
    ((stock("2"),), True, ("price_unknown",)),
    ((price("3.00"),), True, ("no_stock_known",)),
    ((), False, ("not_activated", "price_unknown", "no_stock_known")),
])
def test_each_reason_is_told_in_a_fixed_order(facts: tuple[Fact, ...], activated: bool, why: tuple[str, ...]) -> None:
    """Two reasons are two lines, so that fixing one does not surprise with the next."""
    assert seen(*facts, activated=activated) == Visibility("hidden", why)


def test_a_pool_that_only_observes_is_said_so() -> None:
    """One location that sells is enough to lift it; locations outside the pool do not matter."""
    both = (price("3.00"), stock("2"))
    assert "location_observes" in seen(*both, phases={"mallow": "observe"}).why
    assert "location_observes" in seen(*both, phases={"mallow": "observe", "ennis": "orders"}, pool=("mallow",)).why
    there = (*both, price("3.00", "ennis"), stock("2", "ennis"))
    assert "location_observes" not in seen(*there, phases={"mallow": "observe", "ennis": "orders"}).why
    assert "location_observes" not in seen(phases={}).why


def test_what_only_an_observing_location_knows_is_not_called_unknown() -> None:
    """Its price and count are not used yet; what nobody has told is still said to be missing."""
    phases = {"mallow": "observe", "ennis": "orders"}
    assert seen(price("3.00"), stock("2"), phases=phases).why == ("location_observes",)
    assert seen(stock("2"), phases=phases).why == ("price_unknown", "location_observes")
    assert seen(price("3.00"), phases=phases).why == ("location_observes", "no_stock_known")
    assert seen(phases=phases).why == ("price_unknown", "no_stock_known")
    elsewhere = seen(price("3.00", "ennis"), stock("2"), phases=phases, pool=("ennis",))
    assert elsewhere.why == ("no_stock_known",)


def test_a_conflict_hides_nothing_by_itself() -> None:
    """What is published stays, so it is held elsewhere, not hidden here."""
    assert seen(price("3.00"), price("4.00", feed_name="erp"), stock("2")) == Visibility("live")


def test_every_reason_has_a_sentence() -> None:
    """Screens and command line quote them."""
    assert all(sentence.endswith(".") for sentence in REASONS.values())
