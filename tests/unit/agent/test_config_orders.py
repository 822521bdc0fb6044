"""The orders table: every mistake is told with its key, and no path, name or pattern can do harm."""

import os
from pathlib import Path

import pytest

from tillbridge_agent.config import AgentConfig, load_agent_config
from tillbridge_agent.errors import ConfigError
from tillbridge_agent.imports.config import file_name, may_match

ORDERS = """
state = "state"
[orders]
format = "csv"
path = "till/import"
name = "ORD{sequence:05d}.CSV"
time_zone = "Europe/Zurich"
[[orders.records]]
each = "order"
columns = [{ const = "H" }, "order", { field = "placed_at", format = "%d.%m.%Y" }, { field = "total", decimals = 2 }]
[[orders.records]]
each = "line"
columns = ["order", "code", "quantity"]
[orders.answers]
path = "till/answers"
pattern = "*.ANS"
accepted = ["OK"]
rejected = ["ERR"]
"""
FEED = """
[[feeds]]
name = "stock"
reader = {{}}
mapping = {{ key = ["A"], product = {{}} }}
source = {{ path = "{path}", pattern = "{pattern}" }}
"""


def load(folder: Path, text: str = ORDERS) -> AgentConfig:
    """The configuration of an agent.toml of this text."""
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return load_agent_config(path)


def fault(folder: Path, text: str) -> ConfigError:
    """What is said about it."""
    with pytest.raises(ConfigError) as refused:
        load(folder, text)
    assert refused.value.hint
    return refused.value


def test_paths_are_absolute(tmp_path: Path) -> None:
    """And the spool lies below the import folder unless another one is named."""
    orders = load(tmp_path).orders
    assert orders is not None
    assert orders.answers is not None
    assert orders.path == str(tmp_path / "till" / "import")
    assert orders.spool == str(tmp_path / "till" / "import" / ".tillbridge")
    assert orders.answers.path == str(tmp_path / "till" / "answers")
    other = load(tmp_path, ORDERS.replace('path = "till/import"', 'path = "till/import"\nspool = "till/spool"')).orders
    assert other is not None
    assert other.spool == str(tmp_path / "till" / "spool")


def test_without_the_table_there_are_no_orders(tmp_path: Path) -> None:
    """Placing orders is switched on, never there by default."""
    assert load(tmp_path, 'state = "state"\n').orders is None


COLUMNS = 'columns = ["order", "code", "quantity"]'
NAME = 'name = "ORD{sequence:05d}.CSV"'
ZONE = 'time_zone = "Europe/Zurich"'


@pytest.mark.parametrize(("old", "new", "key", "told"), [
    ('path = "till/import"', "", "orders.path", "missing"),
    ('path = "till/import"', 'path = "../import"', "orders.path", "outside"),
    (ZONE, f'{ZONE}\nspool = "../spool"', "orders.spool", "outside"),
    (ZONE, f'{ZONE}\nspool = "till/import"', "orders.spool", "Half-written"),
    ('path = "till/answers"', 'path = "../answers"', "orders.answers.path", "outside"),
    ('path = "till/answers"', 'path = "till/import/.tillbridge"', "orders.answers.path", "own"),
    ('path = "till/answers"\npattern = "*.ANS"', 'path = "till/import"\npattern = "ord*.*"', "orders.answers.pattern",
     "import files"),
    ('format = "csv"', 'format = "edifact"', "orders.format", "edifact"),
    (NAME, 'name = "ORDERS.CSV"', "orders.name", "{sequence}"),
    (NAME, 'name = "{order}.CSV"', "orders.name", "same name"),
    (NAME, 'name = "../{sequence}.CSV"', "orders.name", "safe"),
    (NAME, 'name = "..\\\\{sequence}.CSV"', "orders.name", "safe"),
    (NAME, 'name = ".{sequence}.CSV"', "orders.name", "safe"),
    (NAME, 'name = "{sequence}."', "orders.name", "safe"),
    (NAME, 'name = "O D{sequence}.CSV"', "orders.name", "safe"),
    (NAME, 'name = "{sequenz}.CSV"', "orders.name", "safe"),
    (NAME, 'name = "{sequence:5d}.CSV"', "orders.name", "safe"),
    (NAME, 'name = "con.{sequence}"', "orders.name", "device"),
    (NAME, f'name = "{"x" * 95}{{sequence}}.CSV"', "orders.name", "longer"),
    (ZONE, 'time_zone = "Europe/Zurick"', "orders.time_zone", "'Europe/Zurich'"),
    (ZONE, "", "orders.time_zone", "zone"),
    (ZONE, f'{ZONE}\nencoding = "cp1253x"', "orders.encoding", "cp1253x"),
    (ZONE, f'{ZONE}\nencoding = "gbk"', "orders.encoding", "gbk"),
    (ZONE, f'{ZONE}\nencoding = "base64"', "orders.encoding", "base64"),
    (ZONE, f'{ZONE}\nencoding = "punycode"', "orders.encoding", "line by line"),
    (ZONE, f'{ZONE}\nsubstitute = "ł"', "orders.substitute", "ł"),
    (ZONE, f'{ZONE}\nsubstitute = " "', "orders.substitute", "visible"),
    (ZONE, f'{ZONE}\nsubstitute = ";"', "orders.substitute", "separator"),
    (ZONE, f'{ZONE}\nsubstitute = ""', "orders.substitute", "length"),
    (ZONE, f'{ZONE}\nseparator = "a"', "orders.separator", "between cells"),
    (ZONE, f'{ZONE}\nseparator = "-"', "orders.separator", "between cells"),
    (ZONE, f'{ZONE}\nseparator = " "', "orders.separator", "between cells"),
    (ZONE, f'{ZONE}\nseparator = "\\n"', "orders.separator", "between cells"),
    (ZONE, f'{ZONE}\nseparator = ";;"', "orders.separator", "length"),
    (ZONE, f'{ZONE}\nquote = ";"', "orders.quote", "around cells"),
    (ZONE, f'{ZONE}\nquote = ""\nquote_all = true', "orders.quote_all", "no quote mark"),
    (ZONE, f'{ZONE}\nquote = ""\nseparator = ","\ndecimal = ","', "orders.decimal", "separator too"),
    (ZONE, f'{ZONE}\ndecimal = "0"', "orders.decimal", "no decimal mark"),
    (ZONE, f'{ZONE}\nline_end = "\\n\\r"', "orders.line_end", "enum"),
    (ZONE, f'{ZONE}\nheader = ["a\\nb"]', "orders.header[0]", "line end"),
    (ZONE, f'{ZONE}\nheader = ["ok", "ł"]', "orders.header[1]", "lacks"),
    (ZONE, f'{ZONE}\nexcel_save = true', "orders.excel_save", "'excel_safe'"),
    (COLUMNS, 'columns = ["order", "code", "quantity", "colour"]', "orders.records[1].columns[3].field", "colour"),
    (COLUMNS, "columns = []", "orders.records[1].columns", "length"),
    (COLUMNS, 'columns = ["code", "quantity", {}]', "orders.records[1].columns[2]", "one of the two"),
    (COLUMNS, 'columns = [{ field = "code", const = "x" }]', "orders.records[1].columns[0]", "one of the two"),
    (COLUMNS, 'columns = [{ const = "x", max = 3 }]', "orders.records[1].columns[0].max", "as it stands"),
    (COLUMNS, 'columns = [{ const = "x\\ty" }]', "orders.records[1].columns[0].const", "control"),
    (COLUMNS, 'columns = [{ field = "code", decimals = 2 }]', "orders.records[1].columns[0].decimals", "not a number"),
    (COLUMNS, 'columns = [{ field = "code", format = "%d" }]', "orders.records[1].columns[0].format", "not a time"),
    (COLUMNS, 'columns = [{ field = "placed_at", format = "%-d" }]', "orders.records[1].columns[0].format", "'%-'"),
    (COLUMNS, 'columns = [{ field = "placed_at", format = "%" }]', "orders.records[1].columns[0].format", "'%'"),
    (COLUMNS, 'columns = [{ field = "placed_at", format = "dd" }]', "orders.records[1].columns[0].format", "nothing"),
    (COLUMNS, 'columns = [{ field = "code", max = 0 }]', "orders.records[1].columns[0].max", ">= 1"),
    (COLUMNS, 'columns = ["order", "quantity"]', "orders.records", "'code'"),
    (COLUMNS, 'columns = ["order", "code"]', "orders.records", "'quantity'"),
    ('each = "order"', 'each = "order"\ncolums = []', "orders.records[0].colums", "'columns'"),
    ('columns = [{ const = "H" },', 'columns = ["code",', "orders.records[0].columns[0].field", "line to line"),
    ('accepted = ["OK"]', "accepted = []", "orders.answers.accepted", "length"),
    ('accepted = ["OK"]', 'accepted = ["OK", " err"]', "orders.answers.rejected", "both yes and no"),
    ('accepted = ["OK"]', 'accepted = ["OK"]\norder = 0', "orders.answers.order", ">= 1"),
    ('accepted = ["OK"]', 'accepted = ["OK"]\norder = "Auftrag"', "orders.answers.order", "header = true"),
    ('accepted = ["OK"]', 'accepted = ["OK"]\nheader = true', "orders.answers.order", "header = true"),
    ('accepted = ["OK"]', 'accepted = ["OK"]\nmessage = 2', "orders.answers.message", "`state`"),
    ('accepted = ["OK"]', 'accepted = ["OK"]\nencoding = "rot13"', "orders.answers.encoding", "rot13"),
    ('accepted = ["OK"]', 'accepted = ["OK"]\nseparator = "x"', "orders.answers.separator", "between cells"),
])
def test_a_mistake_names_its_key(tmp_path: Path, old: str, new: str, key: str, told: str) -> None:
    """And says what to write instead."""
    assert old in ORDERS
    error = fault(tmp_path, ORDERS.replace(old, new))
    assert error.key == key
    assert told in f"{error.message} {error.hint}"


def test_a_file_without_our_number_is_no_template(tmp_path: Path) -> None:
    """The till could not sell the order under it, and its stock would stay reserved for ever."""
    error = fault(tmp_path, ORDERS.replace('"order", ', ""))
    assert (error.key, "'order'" in error.message) == ("orders.records", True)


@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: links need a right on Windows")
def test_a_link_leads_nowhere_else(tmp_path: Path) -> None:
    """allowed_roots bounds where links lead to."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "till").symlink_to(tmp_path)
    assert fault(inside, ORDERS).key == "orders.path"


def test_what_we_write_is_nobodys_export(tmp_path: Path) -> None:
    """A feed that would read our import files, or the till's answers, as exports is refused; others are not."""
    def with_feed(path: str, pattern: str) -> str:
        return ORDERS + FEED.format(path=path, pattern=pattern)

    assert fault(tmp_path, with_feed("till/import", "ord*")).key == "orders.name"
    assert fault(tmp_path, with_feed("till/import", "*.csv")).key == "orders.name"
    assert fault(tmp_path, with_feed("till/answers", "*")).key == "orders.answers.pattern"
    assert load(tmp_path, with_feed("till/import", "STOCK*.CSV")).orders is not None
    assert load(tmp_path, with_feed("till/export", "*.CSV")).orders is not None
    assert load(tmp_path, with_feed("till/answers", "*.CSV")).orders is not None


def test_every_name_made_is_matched_by_its_own_pattern() -> None:
    """What `may_match` tries are names as they are made."""
    for name in ("ORD{sequence:05d}.CSV", "{order}-{revision}.txt", "A{sequence}"):
        made = file_name(name, order="WEB-1000-AAA", revision=12, sequence=4711)
        assert may_match(name, made.upper())
        assert not may_match(name, f"x{made}")
