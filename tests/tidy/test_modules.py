"""The tree obeys the rules: every module, every text file, the root, the constraints, the plugin folders."""

import tomllib
from collections.abc import Callable, Iterator

import pytest
from tests.tidy import texts
from tests.tidy.rules import MODULE_RULES
from tests.tidy.texts import TEXT_RULES
from tests.tidy.tree import ROOT, Module, Text, files, is_ours, modules, relative
from tests.tidy.tree import texts as text_files

DISTRIBUTIONS = ("protocol", "agent", "server")


def obeyed(findings: Iterator[str]) -> None:
    """Fail with every finding, one on a line."""
    if found := list(findings):
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize("rule", MODULE_RULES, ids=lambda rule: rule.__name__)
def test_modules(rule: Callable[[Module], Iterator[str]]) -> None:
    """Every module obeys the rule of this name."""
    obeyed(finding for module in modules() for finding in rule(module))


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_texts(rule: Callable[[Text], Iterator[str]]) -> None:
    """Every text file obeys the rule of this name."""
    obeyed(finding for file in text_files() for finding in rule(file))


def test_root_is_a_map() -> None:
    """The root holds rooms and the usual pages only."""
    obeyed(texts.root_entries(path.name for path in ROOT.iterdir() if is_ours(path)))


def test_constraints_are_plain_pins() -> None:
    """constraints.txt can be read by pip, uv and people alike, and pins all we ask for."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    wanted = list(_root_project()["dependency-groups"]["dev"])
    for name in DISTRIBUTIONS:
        wanted += _project(name)["project"]["dependencies"]
    obeyed(texts.constraint_lines(constraints))
    obeyed(texts.unpinned(wanted, constraints))


def test_versions_agree() -> None:
    """The three distributions share a version, pin the protocol to it, and the changelog tells of it."""
    versions = {_project(name)["project"]["version"] for name in DISTRIBUTIONS}
    assert len(versions) == 1, f"The versions differ: {versions}. Release the three together."
    version = versions.pop()
    for name in ("agent", "server"):
        assert f"tillbridge-protocol=={version}" in _project(name)["project"]["dependencies"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), f"CHANGELOG.md has no [{version}]."


@pytest.mark.parametrize(
    ("room", "module", "needed"),
    [
        ("agent/tillbridge_agent/readers", "reader.py", ("sample.toml", "README.md")),
        ("agent/tillbridge_agent/imports", "render.py", ("sample.toml", "README.md")),
        ("agent/tillbridge_agent/devices", "protocol.py", ("sample.toml", "README.md")),
        ("server/tillbridge_server/connectors", "connector.py", ("sample.toml", "README.md")),
    ],
)
def test_plugin_folders(room: str, module: str, needed: tuple[str, ...]) -> None:
    """A reader or connector is one folder with its module, its sample and its page."""
    found = 0
    for path in files():
        if path.name == module and relative(path.parent.parent) == room:
            found += 1
            folder = path.parent
            obeyed(texts.plugin_folder(relative(folder), [inner.name for inner in folder.iterdir()], needed))
    assert found, f"{room} has no folder with a {module}."


def _project(name: str) -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))


def _root_project() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
