"""The demo's own configuration: the agent accepts it, it fits the simulator, and the state survives."""

import socket
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.demo.place import Notes, Place, check_journal, load_notes, save_notes, write_agent_configuration

from tillbridge_agent.config import load_agent_config
from tillbridge_agent.imports import read_answers, render
from tillbridge_agent.imports.results import Answer
from tillbridge_agent.simulate.desk import PATTERN
from tillbridge_agent.simulate.export import EXPORT_COLUMNS, JOURNAL_COLUMNS, ORDER_COLUMN, render_journal_header
from tillbridge_agent.simulate.weborders import read_import, render_answer
from tillbridge_agent.simulate.writer import BROKEN_NAME, EXPORT_NAME, JOURNAL_NAME
from tillbridge_protocol.orders import Order, OrderLine, Shopper


def test_the_feeds_read_exactly_the_simulators_files(tmp_path: Path) -> None:
    """Names, columns and folder of the simulator; the broken file is the stock feed's to judge."""
    place = Place(tmp_path / "demo")
    write_agent_configuration(place, 8123)
    agent = load_agent_config(place.agent_toml)
    stock, sales = agent.feeds
    assert agent.server == "http://127.0.0.1:8123"
    assert stock.source is not None
    assert sales.source is not None
    assert Path(stock.source.path).resolve() == place.export.resolve()
    for name in (EXPORT_NAME, BROKEN_NAME):
        assert Path(name).match(stock.source.pattern)
        assert not Path(name).match(sales.source.pattern)
    assert Path(JOURNAL_NAME).match(sales.source.pattern)
    assert set(stock.mapping.kinds()) == {"product", "stock_level", "price"}
    assert set(sales.mapping.key) < set(JOURNAL_COLUMNS)
    assert set(stock.mapping.key) < set(EXPORT_COLUMNS)
    assert sales.mapping.sale_line is not None
    assert sales.mapping.sale_line.order == ORDER_COLUMN


def test_an_order_the_agent_writes_is_one_the_till_reads_and_the_answer_one_the_agent_reads(tmp_path: Path) -> None:
    """Template, code page, decimals and answers of the demo fit the simulated POS."""
    place = Place(tmp_path / "demo")
    write_agent_configuration(place, 8123)
    config = load_agent_config(place.agent_toml).orders
    assert config is not None
    assert config.answers is not None
    now = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    order = Order(
        id="WINDOW-1001-7KQ", revision=1, agent="agent-1", location="demo-store", storefront="window",
        number="1001-7KQ", placed_at=now, not_after=now + timedelta(days=14), currency="CHF",
        lines=[
            OrderLine(1, "000071", Decimal(2), Decimal("12.95"), "Käsereibe; „fein“ " + "x" * 40),
            OrderLine(2, "000123", Decimal(1), Decimal(12)),
        ],
        shopper=Shopper(name="Zoë; Œuvray", city="Bern"),
    )
    written = render(config, order, sequence=7)
    assert written.name == "ORD00007.CSV"
    assert Path(written.name).match(PATTERN)
    number, lines = read_import(written.body)
    assert number == order.id
    assert [(line.code, line.quantity, line.unit_price) for line in lines] == [
        ("000071", Decimal(2), Decimal("12.95")), ("000123", Decimal(1), Decimal(12)),
    ]
    assert lines[0].title == ("Käsereibe; „fein“ " + "x" * 40)[:30]
    assert written.body.startswith(b"H;WINDOW-1001-7KQ;24.11.2026;37,90;")
    for reason, state in (("", "accepted"), ("not in stock", "rejected")):
        [answer] = read_answers(config.answers, render_answer(order.id, reason))
        assert isinstance(answer, Answer)
        assert (answer.order, answer.state, answer.message or "") == (order.id, state, reason)


def test_a_till_of_an_earlier_version_is_told_before_anything_starts(tmp_path: Path) -> None:
    """Its journal only grows and cannot get a new column; a new till and a current one are fine."""
    place = Place(tmp_path)
    check_journal(place)
    place.export.mkdir(parents=True)
    journal = place.export / JOURNAL_NAME
    for fine in (b"", render_journal_header()):
        journal.write_bytes(fine)
        check_journal(place)
    journal.write_bytes(render_journal_header().replace(b";Auftrag", b""))
    with pytest.raises(OSError, match=r"earlier version .* `make clean`"):
        check_journal(place)


def test_the_port_is_kept(tmp_path: Path) -> None:
    """Addresses stay the same from run to run; a port taken by somebody else is told, not taken over."""
    place = Place(tmp_path)
    first = load_notes(place)
    save_notes(place, Notes(port=first.port, enrolled=True))
    assert load_notes(place) == Notes(port=first.port, enrolled=True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        with pytest.raises(OSError, match=f"Port {first.port} .* is taken"):
            load_notes(place)
