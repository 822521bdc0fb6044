"""Configuration: the sample is complete, and every mistake is told with file and key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tillbridge_agent.config import FeedConfig, known_keys, load_agent_config, load_feed
from tillbridge_agent.errors import ConfigError
from tillbridge_agent.readers import READERS

ROOT = Path(__file__).resolve().parents[3]
FEED = """
name = "stock"
[source]
path = "export"
pattern = "*.csv"
[reader]
format = "delimited"
[mapping]
key = ["ArtNr"]
[mapping.stock_level]
on_hand = "Bestand"
"""


def feed_file(folder: Path, text: str = FEED) -> Path:
    """A feed file of this text."""
    path = folder / "feed.toml"
    path.write_text(text, encoding="utf-8")
    return path


def agent_file(folder: Path, text: str) -> Path:
    """An agent.toml of this text."""
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _keys(table: Any) -> set[str]:
    if isinstance(table, dict):
        return set(table) | {key for value in table.values() for key in _keys(value)}
    return {key for value in table for key in _keys(value)} if isinstance(table, list) else set()


def test_the_sample_is_complete_and_loads() -> None:
    """agent/sample.toml is documentation and test input: it loads, and no key is missing in it."""
    path = ROOT / "agent" / "sample.toml"
    config = load_agent_config(path)
    assert [feed.name for feed in config.feeds] == ["stock", "sales"]
    written = _keys(tomllib.loads(path.read_text(encoding="utf-8")))
    text = path.read_text(encoding="utf-8")
    assert {key for key in known_keys() - written if f"{key} =" not in text} == set()


@pytest.mark.parametrize("name", READERS)
def test_the_sample_of_a_reader_is_its_defaults(name: str) -> None:
    """The values of a reader's sample.toml are the defaults it tells of, and every key is there."""
    folder = ROOT / "agent" / "tillbridge_agent" / "readers" / name
    table = tomllib.loads((folder / "sample.toml").read_text(encoding="utf-8"))
    kind = READERS[name].config_type
    assert set(table) == {"format", *kind.__struct_encode_fields__}
    default = kind()
    for key, value in table.items():
        if key != "format":
            assert getattr(default, key) == (tuple(value) if isinstance(value, list) else value), key


def test_paths_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    """State, roots and sources are absolute after loading; feed files start at their own folder."""
    (tmp_path / "feeds").mkdir()
    feed_file(tmp_path / "feeds")
    config = load_agent_config(agent_file(tmp_path, 'feed_files = ["feeds/*.toml"]\n'))
    assert config.state == tmp_path / "state"
    assert config.allowed_roots == (tmp_path,)
    assert config.feed("stock").source is not None
    assert Path(config.feed("stock").source.path) == tmp_path / "feeds" / "export"  # type: ignore[union-attr]
    assert (config.server, config.heartbeat_s) == (None, 15.0)


def test_a_path_outside_the_roots_is_refused(tmp_path: Path) -> None:
    """allowed_roots bounds every path, also through .. and through links."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside").mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")
    for path in ("../outside", "link", str(tmp_path / "outside")):
        text = FEED.replace("[source]", "[feeds.source]").replace("[reader]", "[feeds.reader]")
        text = "[[feeds]]" + text.replace("[mapping", "[feeds.mapping").replace('"export"', f'"{path}"')
        with pytest.raises(ConfigError) as refused:
            load_agent_config(agent_file(inside, text))
        assert refused.value.key == "feeds[0].source.path"
        assert "allowed_roots" in refused.value.hint


KIND = '[mapping.stock_level]\non_hand = "Bestand"'
SALE = '[mapping.sale_line]\nquantity = "Q"\nat = { column = "Z", format = "%Y-%m-%d %z" }'
FORMAT = 'format = "delimited"'
ON_HAND = 'on_hand = "Bestand"'
ON_HAND_KEY = "mapping.stock_level.on_hand"


@pytest.mark.parametrize(("old", "new", "key", "told"), [
    ("settle_s = 1", "setle_s = 1", "source.setle_s", "Did you mean 'settle_s'?"),
    ('name = "stock"', "", "name", "missing"),
    ('name = "stock"', 'name = "sto ck"', "name", "regex"),
    ('key = ["ArtNr"]', "", "mapping.key", "missing"),
    ('key = ["ArtNr"]', "key = []", "mapping.key", "length"),
    ('key = ["ArtNr"]', 'key = "ArtNr"', "mapping.key", "array"),
    (ON_HAND, "on_hand = 5", ON_HAND_KEY, "Expected"),
    (ON_HAND, 'onhand = "Bestand"', "mapping.stock_level.onhand", "Did you mean 'on_hand'?"),
    (ON_HAND, "on_hand = { none = [] }", ON_HAND_KEY, "column"),
    (ON_HAND, 'on_hand = { column = "B", const = "1" }', ON_HAND_KEY, "one of the two"),
    (FORMAT, 'format = "dbf"', "reader.format", "dbf"),
    (FORMAT, 'encodings = ["utf-9"]', "reader.encodings", "utf-9"),
    (FORMAT, 'encodings = ["base64"]', "reader.encodings", "base64"),
    (FORMAT, "encodings = []", "reader.encodings", "length"),
    (FORMAT, "header = false", "reader.columns", "names of its columns"),
    (FORMAT, 'columns = ["A"]', "reader.columns", "header"),
    (FORMAT, 'header = false\ncolumns = ["A", "A"]', "reader.columns", "name of its own"),
    (FORMAT, 'separator = "\\n"', "reader.separator", "line end"),
    (FORMAT, 'quote = ";"', "reader.quote", "separator"),
    (KIND, "", "mapping", "makes no record"),
    (KIND, '[mapping.price]\nlist_price = "VK"', "mapping.currency", "currency"),
    (KIND, f'currency = "Fr"\n{KIND}', "mapping.currency", "regex"),
    (KIND, f'thousands = "."\n{KIND}', "mapping.thousands", "both"),
    (KIND, f'thousands = "-"\n{KIND}', "mapping.thousands", "no thousands mark"),
    (KIND, f'decimal = "x"\n{KIND}', "mapping.decimal", "no decimal mark"),
    (KIND, f'decimal = "5"\n{KIND}', "mapping.decimal", "no decimal mark"),
    (ON_HAND, 'on_hand = { column = "B", decimal = "" }', f"{ON_HAND_KEY}.decimal", "no decimal mark"),
    (ON_HAND, 'on_hand = { column = "B", thousands = "." }', f"{ON_HAND_KEY}.thousands", "both"),
    (KIND, SALE.replace("%Y", "%q"), "mapping.sale_line.at.format", "'%q-%m-%d %z'"),
    (KIND, SALE.replace("%Y-", ""), "mapping.sale_line.at.format", "year"),
    ('name = "stock"', 'name = "stock"\nnumbering = "a:b"', "numbering", "regex"),
    (KIND, f'code = "Nr"\n{KIND}', "mapping.code", "code"),
    (KIND, f'time_zone = "Europe/Zurick"\n{KIND}', "mapping.time_zone", "'Europe/Zurich'"),
    (KIND, f"{SALE}\n{KIND}", "mapping.sale_line", "not both"),
    (KIND, SALE.replace(" %z", ""), "mapping.time_zone", "zone"),
    (KIND, SALE, "mapping.code", "item number"),
    ("[mapping]", "[guards]\nrows_lost = { share = 2, at_least = 1 }\n[mapping]", "guards.rows_lost.share", "<= 1"),
    ("[mapping]", "[mapping", "", "TOML"),
])
def test_a_mistake_names_file_and_key(tmp_path: Path, old: str, new: str, key: str, told: str) -> None:
    """A missing, misspelt or impossible key ends with its name and with what to do."""
    text = FEED.replace('pattern = "*.csv"', 'pattern = "*.csv"\nsettle_s = 1')
    assert old in text
    path = feed_file(tmp_path, text.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load_feed(path)
    error = refused.value
    assert (error.file, error.key) == (str(path), key)
    assert told in f"{error.message} {error.hint}"
    assert str(path) in str(error)


@pytest.mark.parametrize(("text", "key"), [
    ('feed_files = ["feeds/*.toml"]', "feed_files"), ("allowed_roots = []", "allowed_roots"), ("port = 1", "port"),
    ('[[feeds]]\nname = "a"\nreader = {}\nmapping = { key = ["A"], product = {} }', "feeds[0].source"),
    ('[[feeds]]\nname = "a"\nreader = {}\nmapping = { key = ["A"], product = {} }\nsource = { path = "x" }',
     "feeds[0].source.pattern"),
    (2 * '[[feeds]]\nname = "a"\nreader = {}\nmapping = { key = ["A"], product = {} }\n'
     'source = { path = "x", pattern = "*" }\n', "feeds"),
])
def test_a_mistake_in_agent_toml(tmp_path: Path, text: str, key: str) -> None:
    """agent.toml answers as feed files do, with the number of the feed."""
    path = agent_file(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load_agent_config(path)
    assert (refused.value.file, refused.value.key) == (str(path), key)


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    """The file itself is named when it cannot be read."""
    with pytest.raises(ConfigError, match="no such file"):
        load_feed(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe4"')
    with pytest.raises(ConfigError, match="UTF-8"):
        load_feed(tmp_path / "latin.toml")


def test_a_feed_nobody_configured(tmp_path: Path) -> None:
    """Asking for a misspelt feed suggests the one that is there."""
    text = """
        [[feeds]]
        name = "stock"
        reader = {}
        mapping = { key = ["A"], product = {} }
        source = { path = ".", pattern = "*" }
    """
    with pytest.raises(ConfigError, match="Did you mean 'stock'"):
        load_agent_config(agent_file(tmp_path, text)).feed("stok")


def test_the_fingerprint_is_of_what_decides_the_records(tmp_path: Path) -> None:
    """Comments, guards and folders leave it; columns, marks and the numbering change it."""
    def fingerprint(text: str) -> str:
        return load_feed(feed_file(tmp_path, text)).fingerprint

    first = fingerprint(FEED)
    guards = "[guards]\nrows_lost = { share = 1, at_least = 9 }"
    same = (FEED + "# a comment", FEED.replace('"export"', '"other"'), FEED + guards)
    other = (FEED.replace('"Bestand"', '"Lager"'), FEED.replace("[mapping]", '[mapping]\ndecimal = ","'),
             FEED.replace('name = "stock"', 'name = "stock"\nnumbering = "erp"'),
             FEED.replace("[mapping]", 'separator = ","\n[mapping]'))
    assert {fingerprint(text) for text in same} == {first}
    assert first not in {fingerprint(text) for text in other}
    assert len({fingerprint(text) for text in other}) == len(other)


def test_feeds_are_values(tmp_path: Path) -> None:
    """Two readings of one file are equal, so a changed configuration can be told by comparing."""
    feed = load_feed(feed_file(tmp_path))
    assert feed == load_feed(feed_file(tmp_path))
    assert isinstance(feed, FeedConfig)
