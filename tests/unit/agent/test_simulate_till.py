"""The simulated tills: conservation of stock, receipts that never repeat, prices that never crash."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import biip
import pytest

from tillbridge_agent.simulate.assortment import gtin13, make_assortment, rounded
from tillbridge_agent.simulate.till import SoldLine, Till

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
STEPS = 4_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_opening_plus_received_minus_sold_is_on_hand(seed: int) -> None:
    """Thousands of random steps: the law of conservation holds for every code, after every step of a code."""
    opening = {variant.code: variant for variant in make_assortment(seed, 60)}
    rng = random.Random(seed)
    till = Till(opening.values(), rng)
    balance = {code: variant.on_hand for code, variant in opening.items()}
    for step in range(STEPS):
        if rng.random() < 0.8:
            for line in till.sell(NOW + timedelta(seconds=step)):
                balance[line.code] -= 0 if line.void else line.quantity
        else:
            for code, quantity in till.restock().items():
                balance[code] += quantity
            till.reprice()
        variants = till.variants
        assert {code: variant.on_hand for code, variant in variants.items()} == balance
        assert min(balance.values()) >= 0


def test_one_export_never_takes_many_to_zero_or_prices_far_down() -> None:
    """Between two exports fewer items reach zero than the breaker allows, and no price falls by over 40 %."""
    rng = random.Random(5)
    till = Till(make_assortment(5, 200), rng)
    before = till.variants
    for step in range(1_500):
        for _ in range(rng.randint(1, 8)):
            till.sell(NOW + timedelta(seconds=step))
        till.restock()
        till.reprice()
        after = till.variants
        assert sum(1 for code in after if before[code].on_hand > 0 == after[code].on_hand) < 10
        assert all(after[code].price_now >= before[code].price_now * Decimal("0.6") for code in after)
        before = after


def test_natural_ids_never_repeat_even_when_continued() -> None:
    """A till that is continued goes on numbering its receipts where it was."""
    first = Till(make_assortment(1, 50), random.Random(1))
    lines = [line for _ in range(200) for line in first.sell(NOW)]
    last = {till: max(int(line.receipt) for line in lines if line.till == till) for till in ("01", "02")}
    second = Till(first.variants.values(), random.Random(2), last)
    lines += [line for _ in range(50) for line in second.sell(NOW)]
    assert Counter(line.id for line in lines).most_common(1)[0][1] == 1
    assert lines[0].id == f"{lines[0].till}/23.11.2026/000001/1"


def test_catching_up_never_goes_below_zero_and_says_what_it_received() -> None:
    """Sales found in the journal are deducted; what cannot have been sold without a delivery is received."""
    variant = make_assortment(1, 1)[0]
    till = Till([variant], random.Random(1))
    quantity = variant.on_hand + 2
    sold = SoldLine("01", "000001", 1, NOW, variant.code, variant.title, quantity, variant.list_price)
    void = SoldLine("01", "000001", 2, NOW, variant.code, variant.title, Decimal(9), variant.list_price, void=True)
    assert till.catch_up([sold, void]) == {variant.code: Decimal(2)}
    assert till.variants[variant.code].on_hand == 0


def test_assortment_is_plausible_and_repeatable() -> None:
    """200 variants: unique codes and titles, leading zeros, valid GTIN-13s, letters outside ASCII, some on sale."""
    variants = make_assortment(1, 200)
    assert variants == make_assortment(1, 200) != make_assortment(2, 200)
    assert len({v.code for v in variants}) == len({v.title for v in variants}) == 200
    assert any(v.code.startswith("00") for v in variants)
    assert all(biip.parse(v.gtin).gtin is not None for v in variants if v.gtin)
    assert 0 < sum(1 for v in variants if not v.gtin) < 40
    text = "".join(v.title for v in variants)
    assert set("äöüßéœ½–„“;\"") <= set(text)
    assert text.encode("cp1252") != text.encode("latin-1", errors="replace")
    on_sale = [v for v in variants if v.sale_price is not None]
    assert 8 <= len(on_sale) <= 50
    assert all(Decimal(0) < v.sale_price < v.list_price for v in on_sale if v.sale_price is not None)
    assert all(v.list_price % Decimal("0.05") == 0 for v in variants)


def test_a_large_assortment_stays_unique_and_encodable() -> None:
    """Sizes beyond the table of products work as well."""
    variants = make_assortment(3, 5_000)
    assert len({v.title for v in variants}) == len({v.code for v in variants}) == 5_000
    assert all(v.title.encode("cp1252") for v in variants)


def test_gtin_check_digit_and_price_steps() -> None:
    """Known values."""
    assert gtin13("400638133393") == "4006381333931"
    assert rounded(Decimal("9.98")) == Decimal("10.00")
    assert rounded(Decimal("0.01")) == Decimal("0.05")
