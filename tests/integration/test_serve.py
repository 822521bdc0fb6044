"""What keeps a server from starting is said with file and key."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillbridge_server.app import Server
from tillbridge_server.cli import cli
from tillbridge_server.config import load_config
from tillbridge_server.errors import ConfigError


def made(folder: Path, port: int) -> Path:
    """A server set up by `init`."""
    path = folder / "server.toml"
    told = CliRunner().invoke(cli, ["init", "--config", str(path), "--listen", f"127.0.0.1:{port}"])
    assert told.exit_code == 0, told.output
    return path


async def test_address_in_use(tmp_path: Path) -> None:
    """Another program, or a second server, has the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = load_config(made(tmp_path, other.getsockname()[1]))
        with pytest.raises(ConfigError, match="cannot be used") as refused:
            await Server(config).start(None)
    assert (refused.value.file, refused.value.key) == (config.path, "listen")


def test_backup_of_another_database(tmp_path: Path) -> None:
    """Agents would keep everything for ever, waiting for a copy that is never made."""
    path = made(tmp_path, 8080)
    path.write_text('database = "postgresql+psycopg://hq/tillbridge"\n' + path.read_text())
    with pytest.raises(ConfigError, match="SQLite"):
        load_config(path)
