"""The pages keep up with the code: verbs, config keys, codes, samples, commands and quotes."""

import importlib
from functools import cache
from pathlib import Path

import click
import pytest
from tests.tidy import pages
from tests.tidy.test_modules import obeyed
from tests.tidy.tree import ROOT, files, modules, relative

PROGRAMS = {"agent": "tillbridge_agent", "server": "tillbridge_server"}


def _cli(package: str) -> click.Group:
    module = importlib.import_module(f"{package}.cli")
    groups = [value for value in vars(module).values() if isinstance(value, click.Group)]
    return max(groups, key=lambda group: len(group.commands))


@cache
def _carriers() -> dict[str, int]:
    return pages.carriers([module for module in modules() if module.package])


def _pages(*rooms: str) -> list[Path]:
    return [path for path in files() if path.suffix == ".md" and relative(path).split("/")[0] in rooms]


def _code(paths: list[Path]) -> str:
    return "\n".join(pages.code_of(path.read_text(encoding="utf-8")) for path in paths)


@pytest.mark.parametrize("room", PROGRAMS)
def test_every_verb_is_on_the_page(room: str) -> None:
    """An operator finds every CLI verb in the program's README."""
    page = ROOT / room / "README.md"
    found = list(pages.verbs(_cli(PROGRAMS[room])))
    assert found
    obeyed(pages.missing("verb", found, _code([page]), relative(page)))


@pytest.mark.parametrize("room", PROGRAMS)
def test_every_config_key_is_on_a_page(room: str) -> None:
    """An admin finds every key of the configuration file in a README of its room."""
    found = pages.config_keys(importlib.import_module(f"{PROGRAMS[room]}.config"))
    if room == "server":
        del found["path"]  # filled in by load_config, refused in the file
    assert found
    obeyed(pages.missing("config key", found, _code(_pages(room)), f"{room}/README.md"))


@pytest.mark.parametrize(
    ("room", "also"), [("protocol", ()), ("agent", ("protocol",)), ("server", ("protocol", "agent"))]
)
def test_every_code_is_on_a_page(room: str, also: tuple[str, ...]) -> None:
    """Every code a person can meet is explained on a page."""
    found: dict[str, int] = {}
    for module in modules():
        if module.package == f"tillbridge_{room}":
            found.update(pages.codes(module, _carriers()))
    assert found
    obeyed(pages.missing("code", sorted(found), _code(_pages(room, *also)), f"{room}/README.md or PROTOCOL.md"))


def test_commands_on_pages_exist() -> None:
    """What a page tells people to type still works: make targets and verbs."""
    targets = pages.make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    programs = {f"tillbridge-{room}": set(pages.verbs(_cli(package))) for room, package in PROGRAMS.items()}
    for path in files():
        if path.suffix == ".md":
            obeyed(pages.bad_commands(path.read_text(encoding="utf-8"), targets, programs, relative(path)))


def test_every_make_target_is_spelled_out() -> None:
    """CONTRIBUTING says of every make target what it does and how to do it without make."""
    targets = pages.make_targets((ROOT / "Makefile").read_text(encoding="utf-8")) - {"help"}
    code = _code([ROOT / "CONTRIBUTING.md"])
    obeyed(pages.missing("make target", (f"make {target}" for target in sorted(targets)), code, "CONTRIBUTING.md"))


def test_quotes_are_real() -> None:
    """Each "like this" of CONTRIBUTING is a line of our own code, in the file it names."""
    found = list(pages.quotes((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert len(found) >= 20, "CONTRIBUTING.md quotes too little of our code."
    for path, line in found:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert line.strip() in (real.strip() for real in text.splitlines()), (
            f"CONTRIBUTING.md quotes {line.strip()!r}, which is not a line of {path}. Quote what is there now."
        )
