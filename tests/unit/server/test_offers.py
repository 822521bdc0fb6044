"""Offers: what shoppers would see, in parts of which each can stay as it is shown."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.server.made import NOW, known, price, stock, storefront, title

from tillbridge_server.core.facts import Fact, plain
from tillbridge_server.core.offers import (
    HIDE,
    PRICE,
    STOCK,
    TEXT,
    VISIBLE,
    Offer,
    Shown,
    ShownSale,
    candidate_fingerprint,
    decode_shown,
    decode_stored,
    encode,
    make_offer,
    shown_from_stored,
    state_with,
    stored,
    wanted,
)

PHASES = {"mallow": "stock_and_price", "ennis": "stock_and_price", "naas": "observe"}


def offer(*facts: Fact, activated: bool = True, owners: dict[str, tuple[str, ...]] | None = None,
          **shop: object) -> Offer:
    """The offer these facts give."""
    return make_offer(
        known(*facts), storefront=storefront(**shop), phases=PHASES, owners=owners or {}, activated=activated, now=NOW,
    )


def shown(*facts: Fact) -> Shown:
    """What shoppers see of these facts."""
    found = wanted(offer(*facts), None, ())
    assert found is not None
    return found


def test_a_live_offer_as_shoppers_see_it() -> None:
    """Nothing in it but what is shown; decimals as text, in a fixed order."""
    text = encode(shown(stock("3.000"), price("12.90", sale="9.90", end="2026-11-30"), title("Oak stain")))
    assert text == (
        '{"variant":"pos:1028","codes":["1028"],"title":"Oak stain","available":"3","currency":"CHF",'
        '"list_price":"12.90","sale":{"price":"9.90","from":null,"to":"2026-11-30"},"price_now":"9.90","was":"12.90"}'
    )
    assert encode(decode_shown(text)) == text


def test_a_hidden_offer_is_taken_off() -> None:
    """With stock still computed, so that people see what would be sold."""
    hidden = offer(stock("3"))
    assert wanted(hidden, None, ()) is None
    assert encode(None) == HIDE
    assert decode_shown(HIDE) is None
    assert decode_shown(None) is None
    assert hidden.visibility.why == ("price_unknown",)
    assert hidden.availability.value == 3


def test_the_fingerprint_is_of_what_shoppers_see() -> None:
    """The same value from another file is the same; another price is not."""
    first = offer(stock("3"), price("12.90"))
    assert candidate_fingerprint(first) == candidate_fingerprint(offer(stock("3.0"), price("12.90")))
    assert candidate_fingerprint(first) != candidate_fingerprint(offer(stock("3"), price("12.95")))
    assert candidate_fingerprint(first) != candidate_fingerprint(offer(stock("3"), price("12.90"), activated=False))


def test_a_kept_part_stays_while_the_rest_goes_on() -> None:
    """A held price must not keep the stock from being published."""
    before = shown(stock("9"), price("20.00"), title("Old"))
    after = offer(stock("2"), price("5.00"), title("New"))
    kept = wanted(after, before, {PRICE})
    assert kept is not None
    assert (kept.available, kept.price_now, kept.title) == (Decimal(2), Decimal("20.00"), "New")
    kept = wanted(after, before, {STOCK, TEXT})
    assert kept is not None
    assert (kept.available, kept.price_now, kept.title) == (Decimal(9), Decimal("5.00"), "Old")


def test_a_held_disappearance_tells_fewer_pieces_but_never_more_or_none() -> None:
    """What would vanish stays; if stock sinks meanwhile, that is told."""
    before = shown(stock("9"), price("20.00"))
    for count, told in (("4", 4), ("9", 9), ("12", 9), ("0", 9)):
        kept = wanted(offer(stock(count)), before, {VISIBLE})
        assert kept is not None
        assert kept.available == told
        assert kept.price_now == Decimal("20.00")


@pytest.mark.parametrize("facts", [
    (stock("3"), price("12.90"), price("13.50", "ennis")),
    (stock("3"), stock("4", feed_name="erp"), price("12.90")),
    (stock("3"), price("12.90"), title("Oak"), title("Ash", "ennis")),
])
def test_a_conflict_about_something_never_shown_shows_nothing(facts: tuple[Fact, ...]) -> None:
    """There is nothing to keep, and nothing is made up."""
    made = offer(*facts)
    assert [part for part, _ in made.conflicts] != []
    assert wanted(made, None, {part for part, _ in made.conflicts}) is None


def test_titles_of_locations_that_observe_or_say_nothing_do_not_count() -> None:
    """A blank title is unknown, not a disagreement."""
    made = offer(stock("3"), price("2.00"), title("Oak"), title(None, "ennis"), title("", feed_name="erp"),
                 title("Test", "naas"))
    assert made.title == "Oak"
    assert made.conflicts == ()


def test_a_held_offer_keeps_its_other_reasons() -> None:
    """Held first of all, then why."""
    made = offer(stock("3"), price("2.00"))
    assert state_with(made, (), ()) == made.visibility
    assert state_with(made, {PRICE}, ["price_drop"]).why == ("price_drop",)
    assert state_with(made, {PRICE}, ["price_drop"]).state == "held"


def test_a_stored_offer_comes_back_and_shows_the_same() -> None:
    """Unknown stays unknown."""
    made = offer(stock("-3"), price("2.00"), title("Oak"))
    value = decode_stored(encode(stored(made, made.visibility)))
    assert (value.available, value.unclamped, value.why) == (Decimal(0), Decimal(-3), ())
    assert encode(shown_from_stored(value)) == encode(wanted(made, None, ()))
    empty = offer()
    value = decode_stored(encode(stored(empty, empty.visibility)))
    assert (value.available, value.list_price, value.price_now) == (None, None, None)
    assert shown_from_stored(value) is None


def test_a_stored_value_that_is_cut_is_refused() -> None:
    """A value without its price is no value."""
    with pytest.raises(msgspec.ValidationError):
        decode_shown('{"variant":"pos:1","codes":[],"title":null,"available":"1"}')


amounts = st.decimals(0, 10**9, places=2, allow_nan=False, allow_infinity=False)


@given(st.builds(
    Shown, variant=st.text(min_size=1), codes=st.lists(st.text(min_size=1), max_size=3).map(tuple),
    title=st.none() | st.text(), available=amounts.map(plain), currency=st.just("CHF"), list_price=amounts,
    sale=st.none() | st.builds(ShownSale, amounts, st.none(), st.just("2026-11-30")), price_now=amounts,
    was=st.none() | amounts,
))
def test_what_is_shown_survives_its_text(value: Shown) -> None:
    """Whatever the title holds, and nothing but zero pieces looks like zero pieces to the database's LIKE."""
    text = encode(value)
    assert decode_shown(text) == value
    assert ('"available":"0"' in text) == (value.available == 0)


@given(st.from_regex(r"-?[0-9]{1,35}(\.[0-9]{1,6})?", fullmatch=True).map(Decimal))
def test_plain_numbers_are_equal_and_without_exponent(number: Decimal) -> None:
    """3.000 and 3 become one text, so that they make one value."""
    text = str(plain(number))
    assert Decimal(text) == number
    assert "E" not in text
    assert not ("." in text and text.endswith("0"))
    assert text != "-0"
