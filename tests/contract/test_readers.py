"""One suite for every reader: its sample loads, and portions of any size give the same rows as the whole file."""

import tomllib
from importlib.resources import files

import msgspec
import pytest

from tillbridge_agent.core.rows import Problem, Row
from tillbridge_agent.readers import READERS, Reader, ReaderConfig, open_reader

#: A small file each format reads with its sample's own settings: header, three rows, a quoted line end.
FILES: dict[str, bytes] = {
    "delimited": (
        'ArtNr;Text;Bestand\r\n0012;"Käse, mild";3\r\n0013;"zwei\r\nZeilen";-1\r\n0014;Öl;2,5\r\n'
    ).encode("cp1252"),
}


def sample(name: str) -> ReaderConfig:
    """The reader table of a format's sample.toml."""
    text = (files(f"tillbridge_agent.readers.{name}") / "sample.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    config: ReaderConfig = msgspec.convert(table.get("reader", table), ReaderConfig)
    return config


def read(name: str, size: int) -> tuple[list[Row | Problem], Reader]:
    """Every row of the format's file, fed in portions of `size` bytes."""
    config = msgspec.structs.replace(sample(name), separator=";", quote='"', header=True, columns=(), skip_lines=0)
    reader = open_reader(config, encoding="cp1252")
    data = FILES[name]
    rows: list[Row | Problem] = []
    for start in range(0, len(data), size):
        rows += reader.feed(data[start : start + size])
    rows += reader.finish()
    return rows, reader


def test_every_format_has_a_file_here() -> None:
    """Adding a reader means adding a file to this suite."""
    assert FILES.keys() == READERS.keys()


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_portions_do_not_matter(name: str, size: int) -> None:
    """Whole, byte by byte, and anything between."""
    whole, reader = read(name, 10_000)
    rows, again = read(name, size)
    assert rows == whole
    assert [row.line for row in rows] == [2, 3, 5]
    assert again.columns == reader.columns == ("ArtNr", "Text", "Bestand")
    assert (again.cut_off, again.ended) == (0, True)


@pytest.mark.parametrize("name", sorted(READERS))
def test_one_raw_row_by_itself_is_the_row_of_the_stream(name: str) -> None:
    """Block compare cuts rows out and has them read alone."""
    whole, reader = read(name, 10_000)
    data = FILES[name].split(b"\r\n", 1)[1]
    first = data[: data.index(b"\r\n") + 2]
    assert reader.row(2, first).cells == whole[0].cells  # type: ignore[union-attr]
