"""Each tidy rule can fail: a bad snippet it must find, beside a good one it must let pass."""

import ast
import types
from collections.abc import Callable, Iterator

import click
import msgspec
import pytest
from tests.tidy import pages, texts
from tests.tidy.rules import MODULE_RULES, app_is_the_top
from tests.tidy.texts import TEXT_RULES
from tests.tidy.tree import Module, Text, dotted

DOC = '"""What may be in here."""\n'
CORE = "agent/tillbridge_agent/core/delta.py"
SERVER = "server/tillbridge_server/agents/inbox.py"
PROTOCOL = "protocol/tillbridge_protocol/changes.py"

#: rule → [(path, bad text, words of the finding)].
BAD_MODULES = {
    "sizes": [
        (CORE, DOC + "x = 1\n" * 400, "401 lines"),
        (CORE, DOC + "def long():\n" + "    x = 1\n" * 60, "long has 61 lines"),
        (CORE, DOC + "class A:\n    async def long(self):\n" + "        x = 1\n" * 60, "long has 61 lines"),
    ],
    "import_directions": [
        (CORE, "from tillbridge_server.core import offers\n", "must not import tillbridge_server"),
        (SERVER, "import tillbridge_agent.core.rows\n", "must not import tillbridge_agent"),
        (PROTOCOL, "def f():\n    import tillbridge_agent\n", "must not import tillbridge_agent"),
        (SERVER, "from tests import fakes\n", "must not import tests"),
        (SERVER, "if TYPE_CHECKING:\n    import tillbridge_agent\n", "must not import tillbridge_agent"),
    ],
    "app_is_the_top": [
        (SERVER, "from tillbridge_server.app import make_app\n", "imports app.py"),
        (SERVER, "from tillbridge_server import app\n", "imports app.py"),
        ("agent/tillbridge_agent/local.py", "from . import app\n", "imports app.py"),
    ],
    "purity": [
        (CORE, "import time\n", "imports time"),
        (CORE, "from os import path\n", "imports os.path"),
        (CORE, "from pathlib import Path\n", "imports pathlib.Path"),
        (CORE, "import structlog\n", "imports structlog"),
        (CORE, "import urllib.request\n", "imports urllib.request"),
        (CORE, "from tillbridge_agent.store import outbox\n", "imports tillbridge_agent.store.outbox"),
        (CORE, "import datetime as dt\nat = dt.datetime.now(dt.UTC)\n", "calls dt.datetime.now()"),
        (CORE, "text = open('x').read()\n", "calls open()"),
        (PROTOCOL, "import secrets\n", "imports secrets"),
        (CORE, "from random import Random\nrng = Random(1)\n", "calls Random()"),
        (PROTOCOL, "key = Ed25519PrivateKey.generate()\n", "calls Ed25519PrivateKey.generate()"),
        ("agent/tillbridge_agent/readers/delimited/reader.py", "import io\nio.open('x')\n", "calls io.open()"),
        ("agent/tillbridge_agent/devices/scanner.py", "import serial\n", "imports serial"),
        ("agent/tillbridge_agent/imports/answers.py", "import pathlib\n", "imports pathlib"),
        ("agent/tillbridge_agent/imports/csv/render.py", "import time\n", "imports time"),
        (CORE, "from tillbridge_agent.imports.place import DropFolder\n", "imports.place.DropFolder"),
        ("server/tillbridge_server/core/offers.py", "import random\n", "imports random"),
        ("server/tillbridge_server/connectors/woo/wire.py", "import aiohttp\n", "imports aiohttp"),
        ("server/tillbridge_server/connectors/woo/wire.py", "from .connector import Woo\n", "connector.Woo"),
    ],
    "docstrings": [
        (CORE, "x = 1\n", "no module docstring"),
        (CORE, '"""deltas"""\n', "full stop"),
        (CORE, DOC + "def settle():\n    return 1\n", "settle has no docstring"),
        (CORE, DOC + 'class A:\n    """A thing."""\n    def run(self):\n        return 1\n', "run has no docstring"),
        ("tests/unit/test_a.py", "x = 1\n", "no module docstring"),
    ],
    "words": [
        (CORE, "class RowParser:\n    pass\n", "'parser'"),
        (CORE, "def run_pipeline():\n    pass\n", "'pipeline'"),
        (CORE, "class SKUTable:\n    pass\n", "'sku'"),
        ("agent/tillbridge_agent/client.py", "x = 1\n", "'client'"),
    ],
    "literal_lookups": [
        (CORE, "@register('dbf')\nclass Dbf:\n    pass\n", "Dbf registers itself"),
        (CORE, "@readers.register\ndef dbf():\n    pass\n", "dbf registers itself"),
    ],
}
GOOD_MODULE = '''"""What may be in here, in a sentence."""

import datetime as dt
import hashlib
from pathlib import PurePosixPath

from tillbridge_agent.core.rows import Row
from tillbridge_protocol.changes import Change


def settle(now: dt.datetime, row: Row) -> Change:
    """The change a row makes."""
'''

#: The same for text files; this file and texts.py may say these words, they are about them.
BAD_TEXTS = {
    "leftovers": [("agent/README.md", "later: TODO\n", "says TODO"), (CORE, "# FIXME\n", "says FIXME")],
    "skips": [
        ("tests/test_a.py", "pytest.skip('no browser')\n", "skip without a reason"),
        ("tests/test_a.py", "@pytest.mark.skipif(True, reason='slow')\n", "skip without a reason"),
        ("tests/test_a.py", "@pytest.mark.xfail\n", "xfail"),
        ("tests/test_a.py", "pytest.importorskip('x')\n", "importorskip"),
        (CORE, "raise NotImplementedError\n", "NotImplementedError"),
    ],
    "machine_paths": [
        (CORE, "PATH = '/home/anna/export'\n", "/home/anna"),
        ("README.md", "see C:\\Users\\anna\n", "C:\\Users"),
        ("README.md", "pip install -i https://index.example.com/simple x\n", "https://index.example.com/simple"),
    ],
    "last_newline": [("README.md", "text", "one newline"), (CORE, "x = 1\n\n", "one newline")],
}
GOOD_TEXT = 'pytest.skip("NOT RUN: no Chromium")\n# ../till/export holds the files\n'


@pytest.mark.parametrize("rule", MODULE_RULES, ids=lambda rule: rule.__name__)
def test_module_rules(rule: Callable[[Module], Iterator[str]]) -> None:
    """Every module rule finds its bad snippets, says where, and lets the good module pass."""
    for path, text, words in BAD_MODULES[rule.__name__]:
        found = "\n".join(rule(Module.of(path, text)))
        assert words in found, f"{rule.__name__} did not find {text!r}: {found!r}"
        assert path in found
    assert not list(rule(Module.of(CORE, GOOD_MODULE)))


def test_placing_is_the_one_import_room_with_a_disk() -> None:
    """It writes files; whatever renders them does not, and may be used by pure rooms."""
    rule = next(rule for rule in MODULE_RULES if rule.__name__ == "purity")
    assert not list(rule(Module.of("agent/tillbridge_agent/imports/place.py", "import os\n")))
    assert not list(rule(Module.of(CORE, "from tillbridge_agent import imports\n")))


def test_types_may_be_named() -> None:
    """Naming a type of app.py builds nothing, so it is no finding."""
    text = "if TYPE_CHECKING:\n    from tillbridge_agent.app import Agent\n"
    assert not list(app_is_the_top(Module.of("agent/tillbridge_agent/deeds.py", text)))


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_text_rules(rule: Callable[[Text], Iterator[str]]) -> None:
    """Every text rule finds its bad snippets, says where, and lets the good text pass."""
    for path, text, words in BAD_TEXTS[rule.__name__]:
        found = "\n".join(rule(Text(path, text)))
        assert words in found, f"{rule.__name__} did not find {text!r}: {found!r}"
        assert path in found
    assert not list(rule(Text("tests/test_a.py", GOOD_TEXT)))


def test_root_entries() -> None:
    """A folder without a room is found; the rooms pass."""
    assert list(texts.root_entries(["agent", "docs"])) == [
        "docs: does not belong in the root. Put it into agent/, server/, protocol/, installer/ or tests/."
    ]
    assert not list(texts.root_entries(texts.ROOT_ENTRIES))


@pytest.mark.parametrize("line", ["click>=8", "click==8 ; os_name == 'nt'", "-e ./agent", "tillbridge-agent==1", ""])
def test_constraint_lines(line: str) -> None:
    """Only plain pins of others' packages pass, each once."""
    assert list(texts.constraint_lines(f"{line}\n"))
    assert not list(texts.constraint_lines("click==8.5.1\nsqlite-utils==4.2.1\n"))
    assert "twice" in "".join(texts.constraint_lines("click==8.5.1\nClick==8.5\n"))


def test_unpinned() -> None:
    """A requirement without a pin is found; ours needs none."""
    assert list(texts.unpinned(["aiohttp>=3.14", "tillbridge-protocol==1"], "click==8\n")) == [
        "aiohttp>=3.14: not in constraints.txt. Add the line name==version you tested with."
    ]
    assert not list(texts.unpinned(["Sqlite_Utils>=4"], "sqlite-utils==4.2.1\n"))


def test_plugin_folder() -> None:
    """A plugin without its sample is found."""
    assert "sample.toml" in "".join(texts.plugin_folder("readers/dbf", ["reader.py"], ["sample.toml"]))
    assert not list(texts.plugin_folder("readers/dbf", ["reader.py", "sample.toml"], ["sample.toml"]))


def test_verbs_and_keys() -> None:
    """Nested verbs come as typed; keys come as written in the file; both are missed on an empty page."""
    main = click.Group("main", commands={"run": click.Command("run"), "holds": click.Group("holds")})
    holds = main.commands["holds"]
    assert isinstance(holds, click.Group)
    holds.add_command(click.Command("list"))
    assert list(pages.verbs(main)) == ["holds list", "run"]
    holds.invoke_without_command = True
    assert list(pages.verbs(main)) == ["holds list", "holds", "run"]
    assert list(pages.missing("verb", ["holds list"], pages.code_of("say holds list in prose"), "README.md"))
    assert not list(pages.missing("verb", ["holds list"], pages.code_of("say `x holds list` in code"), "README.md"))
    assert list(pages.missing("config key", ["poll"], pages.code_of("`poll_s`"), "README.md"))

    config = types.ModuleType("config")
    source = msgspec.defstruct("Source", [("poll_s", float)], tag="folder")
    feed = msgspec.defstruct("Feed", [("source", source | None), ("name", str)])
    file = [("feeds", tuple[feed, ...]), ("owners", dict[str, tuple[str, ...]])]  # type: ignore[valid-type]
    config.File = msgspec.defstruct("File", file, forbid_unknown_fields=True)  # type: ignore[attr-defined]
    assert set(pages.config_keys(config)) == {"feeds", "owners", "source", "name", "type", "poll_s"}


def test_codes() -> None:
    """Codes are found at their place, as `code=`, and as keys of a table; sentences are not codes."""
    text = (
        'Reason("rows_lost", "Rows are gone.")\nmake(code="empty")\nCODES = {"too_large": 413}\n'
        'Reason("Rows are gone.")\nmake("not_one")\n_REASONS: dict[str, str] = {"busy": ""}\n'
        'fault(7, "late" if x else "early")\n'
        "class Reason(Exception):\n    def __init__(self, code, message): ...\n"
        "def fault(line, code): ...\n"
        "class Note:\n    index: int\n    code: str\n"
    )
    module = Module.of(CORE, text)
    carrying = pages.carriers([module])
    assert carrying == {"Reason": 0, "fault": 1, "Note": 1}
    assert pages.codes(module, carrying) == {
        "rows_lost": 1, "empty": 2, "too_large": 3, "busy": 6, "late": 7, "early": 7
    }


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("make deploy", "no target deploy"),
        ("tillbridge-agent fly", "no verb fly"),
        (".venv/bin/tillbridge-agent fly --now", "no verb fly"),
        ("cd x && make setup && make fly SECONDS=3", "no target fly"),
    ],
)
def test_bad_commands(command: str, words: str) -> None:
    """A command of a page that no longer exists is found, and only that."""
    programs = {"tillbridge-agent": {"run", "holds list"}}
    assert words in "".join(pages.bad_commands(f"```sh\n{command}\n```\n", {"setup"}, programs, "README.md"))
    good = "```sh\nmake setup SECONDS=20\ntillbridge-agent holds list --json # all\n$ tillbridge-agent --help\n```\n"
    assert not list(pages.bad_commands(good, {"setup"}, programs, "README.md"))


def test_make_targets() -> None:
    """Targets are read from the Makefile, files and variables are not."""
    makefile = "PY = x\n.PHONY: a\nsetup: $(READY)\n$(READY): b\n\t@x\ntest: setup ## Tests\n"
    assert pages.make_targets(makefile) == {"setup", "test"}


def test_quotes() -> None:
    """Only lines under `like this` are quotes."""
    page = "```python\n# like this (a.py)\nx = 1\n\n# not like that\ny = 2\n```\n"
    assert list(pages.quotes(page)) == [("a.py", "x = 1")]


def test_dotted() -> None:
    """Calls on results keep their method's name, so that purity sees it."""
    assert dotted(ast.parse("a().now", mode="eval").body) == "?.now"


def test_every_rule_is_proved() -> None:
    """No rule without a snippet here."""
    assert set(BAD_MODULES) == {rule.__name__ for rule in MODULE_RULES}
    assert set(BAD_TEXTS) == {rule.__name__ for rule in TEXT_RULES}
