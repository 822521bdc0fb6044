"""Every sample.toml loads, names every key there is, and shows true defaults."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from tests.tidy.tree import ROOT, files, relative

from tillbridge_agent.config import load_agent_config
from tillbridge_agent.devices import DEVICES
from tillbridge_agent.imports import IMPORTS, AnswersConfig
from tillbridge_agent.readers import READERS
from tillbridge_server.config import load_config
from tillbridge_server.connectors import CONNECTORS
from tillbridge_server.core.settings import StorefrontConfig

SAMPLES = [path for path in files() if path.name == "sample.toml"]
READER_SAMPLES = [path for path in SAMPLES if relative(path).startswith("agent/tillbridge_agent/readers/")]
IMPORT_SAMPLES = [path for path in SAMPLES if relative(path).startswith("agent/tillbridge_agent/imports/")]
DEVICE_SAMPLES = [path for path in SAMPLES if relative(path).startswith("agent/tillbridge_agent/devices/")]
CONNECTOR_SAMPLES = [path for path in SAMPLES if relative(path).startswith("server/tillbridge_server/connectors/")]


def shown(text: str) -> str:
    """The sample with its commented defaults switched on: `# poll_s = 1.0` becomes `poll_s = 1.0`."""
    return re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)


def missing_keys(struct: type[msgspec.Struct], table: dict[str, object]) -> set[str]:
    """Keys of a struct that a table does not show."""
    return set(struct.__struct_encode_fields__) - set(table)


def test_there_are_samples() -> None:
    """Every reader, device, import format and connector has a sample, and so has the agent itself."""
    assert {path.parent.name for path in READER_SAMPLES} == set(READERS)
    assert {path.parent.name for path in IMPORT_SAMPLES} == set(IMPORTS)
    assert {path.parent.name for path in DEVICE_SAMPLES} == set(DEVICES)
    assert {path.parent.name for path in CONNECTOR_SAMPLES} == set(CONNECTORS)
    known = {*READER_SAMPLES, *DEVICE_SAMPLES, *IMPORT_SAMPLES, *CONNECTOR_SAMPLES, ROOT / "agent" / "sample.toml"}
    assert set(SAMPLES) == known, (
        "A sample that nothing loads: load it in tests/tidy/test_samples.py."
    )


def test_the_agents_sample_is_a_configuration(tmp_path: Path) -> None:
    """agent/sample.toml can be used as it is."""
    text = (ROOT / "agent" / "sample.toml").read_text(encoding="utf-8")
    file = tmp_path / "agent.toml"
    file.write_text(text, encoding="utf-8")
    config = load_agent_config(file)
    assert [feed.name for feed in config.feeds] == [feed["name"] for feed in tomllib.loads(text)["feeds"]]


@pytest.mark.parametrize("path", READER_SAMPLES, ids=lambda path: path.parent.name)
def test_reader_samples_show_the_defaults(path: Path) -> None:
    """A reader's sample shows every key of its table, each with its default."""
    kind = READERS[path.parent.name].config_type
    table = tomllib.loads(shown(path.read_text(encoding="utf-8")))
    assert msgspec.convert(table, kind) == msgspec.convert({"format": table["format"]}, kind)
    assert not missing_keys(kind, table)


@pytest.mark.parametrize("path", DEVICE_SAMPLES, ids=lambda path: path.parent.name)
def test_device_samples_show_the_defaults(path: Path) -> None:
    """A device's sample shows every key of its table, each with its default."""
    kind = DEVICES[path.parent.name].config_type
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert msgspec.convert(table, kind) == msgspec.convert({"type": table["type"]}, kind)
    assert not missing_keys(kind, table)


@pytest.mark.parametrize("path", IMPORT_SAMPLES, ids=lambda path: path.parent.name)
def test_import_samples_are_orders_tables(path: Path, tmp_path: Path) -> None:
    """An import format's sample is the [orders] table of agent.toml; what is commented out is the default."""
    texts = [path.read_text(encoding="utf-8"), shown(path.read_text(encoding="utf-8"))]
    configs = []
    for text in texts:
        file = tmp_path / "agent.toml"
        file.write_text(f'allowed_roots = [".."]\n{text}', encoding="utf-8")
        configs.append(load_agent_config(file).orders)
    assert configs[0] is not None
    assert configs[0] == configs[1]
    table = tomllib.loads(texts[1])["orders"]
    assert not missing_keys(IMPORTS[path.parent.name].config_type, table)
    assert not missing_keys(AnswersConfig, table["answers"])


@pytest.mark.parametrize("path", CONNECTOR_SAMPLES, ids=lambda path: path.parent.name)
def test_connector_samples_are_storefronts(path: Path, tmp_path: Path) -> None:
    """A connector's sample is a [[storefronts]] table of server.toml; what is commented out is the default."""
    texts = [path.read_text(encoding="utf-8"), shown(path.read_text(encoding="utf-8"))]
    configs = []
    for text in texts:
        file = tmp_path / "server.toml"
        file.write_text(f'name = "Fennel & Forge"\n{text}', encoding="utf-8")
        configs.append(load_config(file))
    assert configs[0].storefronts[0].connector == path.parent.name
    assert configs[0].storefronts == configs[1].storefronts
    assert not missing_keys(StorefrontConfig, tomllib.loads(texts[1])["storefronts"][0])


def test_commented_defaults_are_switched_on() -> None:
    """Only lines that are keys; sentences stay comments. A key that is not shown is missed."""
    text = "# Seconds between listings.\n# poll_s = 2.0\nid = 'x'\n"
    assert shown(text) == "# Seconds between listings.\npoll_s = 2.0\nid = 'x'\n"
    assert "buffer" in missing_keys(StorefrontConfig, {"id": "x"})
