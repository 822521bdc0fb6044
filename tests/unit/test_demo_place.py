"""The demo's own configuration: the agent accepts it, it fits the simulator, and the state survives."""

import socket
from pathlib import Path

import pytest
from tests.demo.place import Notes, Place, load_notes, save_notes, write_agent_configuration

from tillbridge_agent.config import load_agent_config
from tillbridge_agent.simulate.export import EXPORT_COLUMNS, JOURNAL_COLUMNS
from tillbridge_agent.simulate.writer import BROKEN_NAME, EXPORT_NAME, JOURNAL_NAME


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
