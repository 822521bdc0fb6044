"""The first look at a file: encodings are tried strictly and in order, and what is no text is named."""

import hashlib
from pathlib import Path

import pytest

from tillbridge_agent.core.limits import PORTION_BYTES
from tillbridge_agent.readers import DelimitedConfig
from tillbridge_agent.survey import Survey, survey

TEXT = "Nr;Name\n1;Käse\n2;Brot\n"


def look(folder: Path, data: bytes, *encodings: str) -> Survey:
    """The survey of these bytes."""
    path = folder / "file.csv"
    path.write_bytes(data)
    return survey(path, DelimitedConfig(encodings=encodings or ("utf-8", "cp1252")))


@pytest.mark.parametrize(("data", "encodings", "encoding"), [
    (TEXT.encode(), ("utf-8", "cp1252"), "utf-8"), (TEXT.encode("cp1252"), ("utf-8", "cp1252"), "cp1252"),
    (TEXT.encode(), ("cp1252", "utf-8"), "cp1252"), (TEXT.encode("utf-8-sig"), ("cp1252", "utf-8"), "utf-8"),
    (TEXT.encode("utf-16"), ("utf-8", "cp1252", "utf-16"), "utf-16"),
    (TEXT.encode("utf-16-le"), ("utf-8", "utf-16-le"), "utf-16-le"),
    (TEXT.encode("cp850"), ("ascii", "cp850"), "cp850"),
    (b"x\x81\x8d\x8f\x90\x9d\n", ("cp1252", "iso-8859-1"), "iso-8859-1"), (b"plain\n", ("utf-8",), "utf-8"),
])
def test_the_first_encoding_that_fits(tmp_path: Path, data: bytes, encodings: tuple[str, ...], encoding: str) -> None:
    """The whole file must decode; a byte order mark decides against the order."""
    seen = look(tmp_path, data, *encodings)
    assert (seen.encoding, seen.fault, seen.cut_character) == (encoding, None, False)
    assert (seen.bytes, seen.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("byte", [0x81, 0x8D, 0x8F, 0x90, 0x9D])
def test_cp1252_has_holes(tmp_path: Path, byte: int) -> None:
    """The five bytes cp1252 does not have are told with their line, however far in the file they stand."""
    data = b"Nr\n" + b"1234567\n" * PORTION_BYTES + bytes([byte]) + b"\n"
    fault = look(tmp_path, data).fault
    assert fault is not None
    assert (fault.code, fault.line) == ("wrong_encoding", PORTION_BYTES + 2)
    assert f"the byte {byte:02X} in line {PORTION_BYTES + 2:d}" in fault.message


@pytest.mark.parametrize(("data", "encodings", "code", "told"), [
    (b"a\0b\n", ("utf-8",), "binary", "The file is no text"),
    (b"%PDF-1.7\n\0", ("utf-8",), "binary", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\0", ("cp1252",), "binary", "an old Excel workbook"),
    (b"\xff\xfea\0", ("utf-8", "cp1252"), "wrong_encoding", "The file says it is utf-16 text"),
    (b"\xef\xbb\xbfa\n", ("cp1252",), "wrong_encoding", "The file says it is utf-8 text"),
    (b"\xef\xbb\xbfa\xff\n", ("utf-8", "cp1252"), "wrong_encoding", "is not utf-8 text: the byte FF in line 1"),
    (b"plain\n", ("utf-16",), "wrong_encoding", "no byte order mark"),
    (b"x" * (1 << 20) + b"x\n", ("utf-8",), "row_long", "Line 1 is longer"),
    (b"1\n" * 9 + b"x" * (1 << 21), ("utf-8",), "row_long", "Line 10 is longer"),
    (b"1\r" * 9 + b"x" * (1 << 21), ("utf-8",), "row_long", "Line 10 is longer"),
])
def test_what_is_no_text_export(tmp_path: Path, data: bytes, encodings: tuple[str, ...], code: str, told: str) -> None:
    """Each is named as what it is, and what to do is said."""
    fault = look(tmp_path, data, *encodings).fault
    assert fault is not None
    assert fault.code == code
    assert told in fault.message
    assert fault.hint.endswith((".", '".'))


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t\x1a", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_blank_files_have_no_encoding(tmp_path: Path, data: bytes) -> None:
    """Nothing but line ends and blanks is an empty file."""
    seen = look(tmp_path, data)
    assert (seen.encoding, seen.fault) == (None, None)


@pytest.mark.parametrize(("data", "encodings", "encoding", "cut"), [
    (TEXT.encode() + "ä".encode()[:1], ("utf-8", "cp1252"), "utf-8", True),
    (b"Kase\ncaf" + b"\xe9", ("utf-8", "cp1252"), "cp1252", False),
    (b"Kase\ncaf" + b"\xe9", ("utf-8",), "utf-8", True),
    (TEXT.encode("utf-16")[:-1], ("utf-16",), "utf-16", True),
])
def test_a_file_that_ends_inside_a_character(
    tmp_path: Path, data: bytes, encodings: tuple[str, ...], encoding: str, cut: bool
) -> None:
    """A file cut inside a character is not read in another encoding that would make it look whole."""
    seen = look(tmp_path, data, *encodings)
    assert (seen.encoding, seen.cut_character) == (encoding, cut)


def test_a_character_across_two_portions(tmp_path: Path) -> None:
    """Portions may cut anywhere, also between ASCII ones."""
    data = b"x" * (PORTION_BYTES - 1) + "ä".encode() + b"\n" + b"y" * PORTION_BYTES
    assert look(tmp_path, data).encoding == "utf-8"
    wrong = b"x" * (PORTION_BYTES - 1) + b"\xc3" + b"y" * PORTION_BYTES
    assert look(tmp_path, wrong).encoding == "cp1252"
