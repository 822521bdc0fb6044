"""One suite for every import format: its sample writes an order, exactly, repeatably, and refuses what it must."""

import datetime as dt
import tomllib
from decimal import Decimal
from importlib.resources import files

import msgspec
import pytest

from tillbridge_agent.imports import IMPORTS, OrdersConfig, Unwritable, render
from tillbridge_agent.imports.config import may_match
from tillbridge_protocol.orders import Order, OrderLine, Shopper

AT = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
ORDER = Order(
    id="WEB-1009-7ZK", revision=1, agent="a", location="bern", storefront="web", number="1009-7ZK", placed_at=AT,
    not_after=AT + dt.timedelta(days=14), currency="CHF", shopper=Shopper(name="Zoë Müller", city="Zürich"),
    lines=[OrderLine(1, "0012", Decimal(2), Decimal("12.50"), "Hammer"), OrderLine(2, "0013", Decimal(1), Decimal(5))],
)


def sample(name: str) -> OrdersConfig:
    """The orders table of a format's sample.toml."""
    text = (files(f"tillbridge_agent.imports.{name}") / "sample.toml").read_text(encoding="utf-8")
    config: OrdersConfig = msgspec.convert(tomllib.loads(text)["orders"], OrdersConfig)
    return config


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_the_sample_has_no_faults(name: str) -> None:
    """And it is of this format."""
    assert sample(name).faults() == []
    assert isinstance(sample(name), IMPORTS[name].config_type)
    assert sample(name).__struct_config__.tag == name


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_the_same_order_is_the_same_file(name: str) -> None:
    """Rendered again after a crash it has the same name and the same bytes; another number gives another name."""
    config = sample(name)
    first = render(config, ORDER, sequence=17)
    assert first == render(config, ORDER, sequence=17)
    assert first.name != render(config, ORDER, sequence=18).name
    assert may_match(config.name, first.name)
    assert first.notes == ()


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_what_a_till_needs_is_in_the_file(name: str) -> None:
    """Our number, every item number with its zeros, and the shopper as written."""
    text = render(sample(name), ORDER, sequence=17).body.decode(sample(name).encoding)
    for needed in ("WEB-1009-7ZK", "0012", "0013", "Zoë Müller"):
        assert needed in text


@pytest.mark.parametrize("name", sorted(IMPORTS))
@pytest.mark.parametrize("line", [
    OrderLine(1, "Ł-12", Decimal(1), Decimal(1)), OrderLine(1, "12\n13", Decimal(1), Decimal(1)),
    OrderLine(1, " ", Decimal(1), Decimal(1)), OrderLine(1, "0012", Decimal("NaN"), Decimal(1)),
    OrderLine(1, "0012", Decimal("1E+40"), Decimal(1)), OrderLine(1, "0012", Decimal(-1), Decimal(1)),
    OrderLine(1, "0012", Decimal(1), Decimal(-1)), OrderLine(1, "0012", Decimal(1), Decimal("Infinity")),
    OrderLine(2, "0012", Decimal(1), Decimal(1)),
], ids=lambda line: f"{line.line}-{line.code!r}-{line.quantity}-{line.unit_price}")
def test_what_cannot_be_written_is_refused(name: str, line: OrderLine) -> None:
    """With code, message and hint; never an altered number, never half an order."""
    with pytest.raises(Unwritable) as refused:
        render(sample(name), msgspec.structs.replace(ORDER, lines=[line, ORDER.lines[1]]), sequence=17)
    assert refused.value.code
    assert len(refused.value.message) > 20
    assert len(refused.value.hint) > 20
