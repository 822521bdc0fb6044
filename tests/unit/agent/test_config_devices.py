"""The `[[devices]]` tables of agent.toml: what is read, and what is wrong said with file and key."""

from pathlib import Path

import pytest

from tillbridge_agent.config import load_agent_config
from tillbridge_agent.errors import ConfigError

FEED = """
[[feeds]]
name = "stock"
[feeds.source]
path = "export"
pattern = "*.CSV"
[feeds.reader]
format = "delimited"
[feeds.mapping]
key = ["Nr"]
[feeds.mapping.stock_level]
on_hand = "Bestand"
"""


def device(name: str = "counter", *, path: str = "/dev/ttyS0", port: str = "", protocol: str = "") -> str:
    """One device as written."""
    return (f'[[devices]]\nname = "{name}"\n[devices.port]\npath = "{path}"\n{port}\n'
            f'[devices.protocol]\ntype = "line_scanner"\n{protocol}\n')


def written(folder: Path, *tables: str) -> Path:
    """An agent.toml of these tables."""
    path = folder / "agent.toml"
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def test_a_device_is_read(tmp_path: Path) -> None:
    """With its marks as bytes mean them, and the defaults."""
    (found,) = load_agent_config(written(tmp_path, device(protocol='prefix = "\\u0002"\nack = "\\u0006"'))).devices
    assert (found.name, found.type, found.numbering, found.port.path) == (
        "counter", "line_scanner", "main", "/dev/ttyS0",
    )
    assert (found.port.baud, found.port.line) == (9600, "8N1")
    assert (found.protocol.prefix, found.protocol.suffix, found.protocol.ack) == ("\x02", "\r", "\x06")


def test_relative_paths_start_at_the_file_and_links_stay(tmp_path: Path) -> None:
    """A link names a port for good; where it leads to changes with each plugging in."""
    (tmp_path / "scanner").symlink_to("/dev/null")
    found = load_agent_config(written(
        tmp_path, device("a", path="./scanner"), device("b", path="COM3"), device("c", path="usb:05f9:4204:N/1"),
    )).devices
    assert [one.port.path for one in found] == [str(tmp_path / "scanner"), "COM3", "usb:05f9:4204:N/1"]


@pytest.mark.parametrize(
    ("tables", "key", "words"),
    [
        ((FEED, device("stock")), "devices[0].name", "named 'stock' too"),
        ((device("a"), device("a", path="COM3")), "devices[1].name", "named 'a' too"),
        ((device("a"), device("b")), "devices[1].port.path", "Two devices"),
        ((device(path="usb:scanner"),), "devices[0].port.path", "names no USB device"),
        ((device(port='line = "9N1"'),), "devices[0].port.line", "matching"),
        ((device(protocol='prefix = "\\r"'),), "devices[0].protocol.prefix", "told apart"),
        ((device(protocol='sufix = "\\r"'),), "devices[0].protocol.sufix", "not known"),
        ((device(protocol='suffix = "123456789"'),), "devices[0].protocol.suffix", "8"),
    ],
)
def test_faults(tmp_path: Path, tables: tuple[str, ...], key: str, words: str) -> None:
    """Each is told with its key."""
    path = written(tmp_path, *tables)
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")) as refused:
        load_agent_config(path)
    assert (refused.value.file, refused.value.key) == (str(path), key)
    assert refused.value.hint
