"""The demo's own configuration: both programs accept it, and it survives from run to run."""

import socket
from pathlib import Path

from tests.demo.place import Notes, Place, load_notes, save_notes, write_configuration

from tillbridge_agent.config import load_agent_config
from tillbridge_agent.simulate.export import EXPORT_COLUMNS, JOURNAL_COLUMNS
from tillbridge_agent.simulate.writer import BROKEN_NAME, EXPORT_NAME, JOURNAL_NAME
from tillbridge_server.config import load_config


def test_both_programs_accept_the_demos_configuration(tmp_path: Path) -> None:
    """Feeds read exactly the simulator's files and columns; the storefront shows everything at once."""
    place = Place(tmp_path / "demo")
    write_configuration(place, 8123)
    agent = load_agent_config(place.agent_toml)
    stock, sales = agent.feeds
    assert agent.server == "http://127.0.0.1:8123"
    assert stock.source is not None
    assert sales.source is not None
    assert Path(stock.source.path).resolve() == place.export.resolve()
    for name in (EXPORT_NAME, BROKEN_NAME):
        assert Path(name).match(stock.source.pattern)
    assert Path(JOURNAL_NAME).match(sales.source.pattern)
    assert not Path(JOURNAL_NAME).match(stock.source.pattern)
    assert set(stock.mapping.kinds()) == {"product", "stock_level", "price"}
    assert set(sales.mapping.key) < set(JOURNAL_COLUMNS)
    assert set(stock.mapping.key) < set(EXPORT_COLUMNS)

    server = load_config(place.server_toml)
    assert (server.port, server.demo) == (8123, True)
    assert [(shop.id, shop.currency, shop.activate) for shop in server.storefronts] == [("window", "CHF", "auto")]


def test_the_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    """Addresses stay the same from run to run; a port taken by somebody else is left to them."""
    place = Place(tmp_path)
    first = load_notes(place)
    save_notes(place, Notes(port=first.port, enrolled=True))
    assert load_notes(place) == Notes(port=first.port, enrolled=True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        moved = load_notes(place)
    assert moved.port not in (0, first.port)
    assert moved.enrolled
