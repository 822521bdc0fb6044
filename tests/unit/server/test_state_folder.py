"""A server whose configuration and data lie apart, as an installed package has them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tillbridge_server.cli import cli
from tillbridge_server.config import load_config


@pytest.mark.parametrize("as_option", [True, False])
def test_init_puts_data_into_the_state_folder(tmp_path: Path, as_option: bool) -> None:
    """The folder of server.toml holds nothing else, and everything of the file hangs below the state folder."""
    path, state = tmp_path / "etc" / "server.toml", tmp_path / "lib"
    option = ["--state", str(state)] if as_option else []
    environment = {} if as_option else {"TILLBRIDGE_SERVER_STATE": str(state)}
    url = "https://stock.example.com:8443"
    told = CliRunner(env=environment).invoke(
        cli, ["init", "--config", str(path), "--listen", "0.0.0.0:8443", "--public-url", url, *option]
    )
    assert told.exit_code == 0, told.output
    assert [found.name for found in path.parent.iterdir()] == ["server.toml"]
    config = load_config(path)
    assert config.folder == state
    assert config.database_url == f"sqlite:///{state / 'tillbridge.db'}"
    assert {"keys", "tillbridge.db"} <= {found.name for found in state.iterdir()}
    assert (config.folder / config.tls_cert).is_file()


def test_a_state_folder_beside_the_file(tmp_path: Path) -> None:
    """Without the option, and with a relative one, data stays near the file."""
    for name, option in (("plain", []), ("near", ["--state", "data"])):
        path = tmp_path / name / "server.toml"
        told = CliRunner().invoke(cli, ["init", "--config", str(path), *option])
        assert told.exit_code == 0, told.output
        assert load_config(path).folder == path.parent / (option[1] if option else "")
        assert (load_config(path).folder / "tillbridge.db").is_file()


@pytest.mark.parametrize(("service", "said"), [
    ("", "tillbridge-server serve --config"), ("tillbridge-server", "systemctl restart tillbridge-server"),
])
def test_init_says_how_to_start(tmp_path: Path, service: str, said: str) -> None:
    """An installed server is started as the service it is."""
    told = CliRunner(env={"TILLBRIDGE_SERVICE": service}).invoke(cli, ["init", "--config", str(tmp_path / "s.toml")])
    assert said in told.output
