"""What every connector promises, checked for each one in CONNECTORS."""

import datetime as dt
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

import tillbridge_server.connectors
from tillbridge_server.connectors import CONNECTORS, make_connector
from tillbridge_server.connectors.interface import Connector, Given
from tillbridge_server.connectors.shop_window.book import Bought, buy
from tillbridge_server.core.offers import Shown, ShownSale
from tillbridge_server.core.publishing import Item
from tillbridge_server.core.settings import StorefrontConfig
from tillbridge_server.errors import ConfigError
from tillbridge_server.store.database import Store

FOLDERS = Path(tillbridge_server.connectors.__file__).parent
NOW = dt.datetime(2026, 11, 23, 14, 0, tzinfo=dt.UTC)
pytestmark = pytest.mark.parametrize("name", sorted(CONNECTORS))


@pytest.fixture
def store(new_engine: Callable[[], sa.Engine]) -> Iterator[Store]:
    """A store with all tables."""
    made = Store(new_engine())
    yield made
    made.close()


def sample(name: str) -> StorefrontConfig:
    """The storefront of the connector's own sample.toml."""
    plain = tomllib.loads((FOLDERS / name / "sample.toml").read_text(encoding="utf-8"))
    return msgspec.convert(plain["storefronts"][0], StorefrontConfig, strict=False)


def connector(name: str, store: Store) -> Connector:
    """The connector of this name, for the storefront of its sample."""
    return make_connector(Given(sample(name), store, lambda: NOW), "server.toml")


def shown(variant: str, available: str = "3", price: str = "12.90", title: str | None = "Oak stain") -> Shown:
    """A value to show."""
    return Shown(variant, (variant.split(":")[1],), title, Decimal(available), "CHF", Decimal(price), None,
                 Decimal(price), None)


def items(*values: Shown) -> list[Item]:
    """Items of these values."""
    return [Item(value.variant, value, f"key-{value}") for value in values]


async def test_what_is_pushed_is_read_back(name: str, store: Store) -> None:
    """Every part of it, with sale, unknown title and fractions of a piece."""
    shop = connector(name, store)
    sale = msgspec.structs.replace(
        shown("pos:2", "0.5", title=None), sale=ShownSale(Decimal("9.90"), None, "2026-11-30"),
        price_now=Decimal("9.90"), was=Decimal("12.90"),
    )
    outcome = await shop.push(items(shown("pos:1"), sale))
    assert (outcome.accepted, dict(outcome.rejected)) == ({"pos:1", "pos:2"}, {})
    assert await shop.read_back() == {"pos:1": shown("pos:1"), "pos:2": sale}


async def test_a_repeat_leaves_it_as_it_was(name: str, store: Store) -> None:
    """Whatever became of the first answer."""
    shop = connector(name, store)
    for _ in range(3):
        outcome = await shop.push(items(shown("pos:1")))
        assert outcome.accepted == {"pos:1"}
    assert await shop.read_back() == {"pos:1": shown("pos:1")}


async def test_the_last_value_stands(name: str, store: Store) -> None:
    """Zero is shown as zero; hidden is not shown; hidden comes back."""
    shop = connector(name, store)
    await shop.push(items(shown("pos:1"), shown("pos:2")))
    await shop.push([*items(shown("pos:1", "0")), Item("pos:2", None, "k")])
    assert await shop.read_back() == {"pos:1": shown("pos:1", "0")}
    await shop.push(items(shown("pos:2", "7")))
    assert await shop.read_back() == {"pos:1": shown("pos:1", "0"), "pos:2": shown("pos:2", "7")}


async def test_hiding_what_was_never_shown_is_accepted(name: str, store: Store) -> None:
    """The wish is fulfilled already."""
    shop = connector(name, store)
    assert (await shop.push([Item("pos:1", None, "k")])).accepted == {"pos:1"}
    assert await shop.read_back() == {}


async def test_every_item_gets_an_answer_or_is_kept(name: str, store: Store) -> None:
    """Never both, and never for something else."""
    shop = connector(name, store)
    outcome = await shop.push(items(*(shown(f"pos:{n}", str(n)) for n in range(1200))))
    assert outcome.accepted.isdisjoint(outcome.rejected)
    assert outcome.accepted | set(outcome.rejected) <= {f"pos:{n}" for n in range(1200)}
    assert set(await shop.read_back()) == outcome.accepted
    assert (await shop.push([])).accepted == frozenset()


async def test_two_storefronts_do_not_touch_each_other(name: str, store: Store) -> None:
    """Each shows its own."""
    shop = connector(name, store)
    other = make_connector(
        Given(msgspec.structs.replace(sample(name), id="other"), store, lambda: NOW), "server.toml"
    )
    await shop.push(items(shown("pos:1")))
    await other.push(items(shown("pos:1", "9")))
    assert (await shop.read_back())["pos:1"].available == 3
    assert (await other.read_back())["pos:1"].available == 9


async def buy_in_window(store: Store, storefront: str, variant: str, pieces: int, n: int) -> str:
    """A shopper at the shop window; the number of the order."""
    bought = await store.run(buy, storefront, variant, pieces, f"T{n:02d}", NOW)
    assert isinstance(bought, Bought)
    return bought.number


#: How a shopper buys at each storefront that takes orders; the others tell none.
SHOPPERS = {"shop_window": buy_in_window}


async def test_orders_are_told_in_sequence_from_a_position_on(name: str, store: Store) -> None:
    """Each once, however few are asked for at a time; asking again gives the same again."""
    shop = connector(name, store)
    await shop.push(items(shown("pos:1", "40"), shown("pos:2", "40", "1.25", None)))
    assert list(await shop.orders(0, 10)) == []
    if name not in SHOPPERS:
        return
    numbers = [await SHOPPERS[name](store, sample(name).id, f"pos:{n % 2 + 1}", n + 1, n) for n in range(5)]
    told = list(await shop.orders(0, 10))
    assert [order.number for order in told] == numbers
    assert [order.position for order in told] == sorted({order.position for order in told})
    assert [(line.line, line.variant, line.quantity, line.unit_price, line.title) for line in told[1].lines] == [
        (1, "pos:2", Decimal(2), Decimal("1.25"), None)]
    assert {(order.currency, order.placed_at) for order in told} == {("CHF", NOW)}
    again, after = [], 0
    while some := await shop.orders(after, 2):
        assert len(some) <= 2
        again += some
        after = some[-1].position
    assert again == told


async def test_orders_of_another_storefront_are_not_told(name: str, store: Store) -> None:
    """Each its own, though they may stand in one book."""
    other = make_connector(
        Given(msgspec.structs.replace(sample(name), id="other"), store, lambda: NOW), "server.toml"
    )
    await other.push(items(shown("pos:1", "9")))
    if name in SHOPPERS:
        await SHOPPERS[name](store, "other", "pos:1", 1, 0)
        assert len(await other.orders(0, 10)) == 1
    assert list(await connector(name, store).orders(0, 10)) == []


def test_each_has_its_folder_with_sample_and_page(name: str, store: Store) -> None:
    """The sample names every key of a storefront and loads as it stands, commented defaults included."""
    text = (FOLDERS / name / "sample.toml").read_text(encoding="utf-8")
    assert all(field in text for field in StorefrontConfig.__struct_fields__)
    assert sample(name).connector == name
    lines = [line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in text.splitlines()]
    whole = tomllib.loads("\n".join(line for line in lines if not line.startswith("#")))
    assert msgspec.convert(whole["storefronts"][0], StorefrontConfig, strict=False) == sample(name)
    assert (FOLDERS / name / "README.md").read_text(encoding="utf-8").startswith("# ")


def test_an_unknown_connector_names_file_key_and_choices(name: str, store: Store) -> None:
    """A typo in server.toml is told in full."""
    wrong = msgspec.structs.replace(sample(name), connector=f"{name}_x")
    with pytest.raises(ConfigError) as error:
        make_connector(Given(wrong, store, lambda: NOW), "server.toml")
    assert (error.value.file, error.value.key) == ("server.toml", f"storefronts[{wrong.id}].connector")
    assert name in error.value.hint
