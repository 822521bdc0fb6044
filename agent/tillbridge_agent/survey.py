"""The first look at a whole file, in portions: its hash, its encoding tried strictly, and whether it is text at all."""

import codecs
import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tillbridge_agent.core.limits import PORTION_BYTES, ROW_BYTES_MAX
from tillbridge_agent.errors import ReadError
from tillbridge_agent.readers import ReaderConfig
from tillbridge_agent.readers.delimited.config import line_safe

#: A file that opens with a byte order mark is in that encoding and in no other.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8", ("utf-8", "utf-8-sig")),
    (codecs.BOM_UTF32_LE, "utf-32", ("utf-32",)),
    (codecs.BOM_UTF32_BE, "utf-32", ("utf-32",)),
    (codecs.BOM_UTF16_LE, "utf-16", ("utf-16",)),
    (codecs.BOM_UTF16_BE, "utf-16", ("utf-16",)),
)
#: Portions that can be read from the start as often as needed.
_Again = Callable[[], Iterator[bytes]]
#: What a file is that begins like this and is no text, in words a shopkeeper knows.
_KNOWN_STARTS = (
    (b"PK\x03\x04", "an Excel workbook or a zip file"), (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF document"), (b"\x1f\x8b", "a compressed file"), (b"SQLite format 3", "a database"),
)


@dataclass(frozen=True)
class Survey:
    """What one pass over a file tells.

    `encoding` is None when the file is blank or unreadable; `cut_character`: the file ends inside a character;
    `fault` says why it is unreadable.
    """

    bytes: int
    sha256: str
    encoding: str | None = None
    cut_character: bool = False
    fault: ReadError | None = None


@dataclass
class _Decoding:
    """How far strict decoding got: `failed_at` is the offset of the first byte that did not fit, or None."""

    failed_at: int | None = None
    multibyte: bool = False
    cut: bool = False


def survey(path: Path, config: ReaderConfig) -> Survey:
    """Read the whole file once, and once more per encoding that does not fit. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    head = b""
    nul_at: int | None = None
    blank = True
    line = _LongestLine()
    for portion in portions(path):
        head = head or portion
        digest.update(portion)
        if nul_at is None and (found := portion.find(b"\0")) >= 0:
            nul_at = size + found
        blank = blank and not portion.strip(b" \t\r\n\x1a")
        line.take(portion)
        size += len(portion)
    bom = next((entry for entry in _BOMS if head.startswith(entry[0])), None)
    seen = Survey(size, digest.hexdigest())
    if blank or (bom is not None and size == len(bom[0])):
        return seen
    try:
        encoding, cut = _encoding(functools.partial(portions, path), config, head, nul_at)
        line.check()
    except ReadError as fault:
        return replace(seen, fault=fault)
    return replace(seen, encoding=encoding, cut_character=cut)


def portions(path: Path) -> Iterator[bytes]:
    """The bytes of a file in portions of PORTION_BYTES. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        while portion := file.read(PORTION_BYTES):
            yield portion


def encoding_of(data: bytes, config: ReaderConfig) -> str:
    """The first configured encoding in which these bytes decode strictly. Raises ReadError."""
    nul = data.find(b"\0")
    encoding, _ = _encoding(lambda: iter([data]), config, data, nul if nul >= 0 else None)
    return encoding


def _encoding(again: _Again, config: ReaderConfig, head: bytes, nul_at: int | None) -> tuple[str, bool]:
    """The encoding, and whether the file ends inside a character."""
    allowed = _allowed(config, head)
    tried: list[tuple[str, _Decoding]] = []
    for encoding in allowed:
        if nul_at is not None and line_safe(encoding):
            continue
        decoding = _decode(again(), encoding)
        if decoding.failed_at is None and not decoding.cut:
            return encoding, False
        tried.append((encoding, decoding))
        if decoding.cut and decoding.multibyte:
            # It was this encoding all along; another one would only make the cut character look whole.
            return encoding, True
    for encoding, decoding in tried:
        if decoding.cut:
            return encoding, True
    if nul_at is not None:
        raise _binary(head, again, nul_at)
    raise _wrong(tried, again)


def _allowed(config: ReaderConfig, head: bytes) -> list[str]:
    """The configured encodings that the beginning of the file does not rule out. Raises ReadError."""
    for mark, name, fitting in _BOMS:
        if head.startswith(mark):
            allowed = [encoding for encoding in config.encodings if codecs.lookup(encoding).name in fitting]
            if not allowed:
                raise ReadError(
                    "wrong_encoding",
                    f"The file says it is {name} text; this feed expects {_listed(config.encodings)}.",
                    hint=f'Add "{name}" to `reader.encodings`, or export as before.', line=1,
                )
            return allowed
    # Without its mark the byte order of utf-16 and utf-32 would be a guess.
    return [encoding for encoding in config.encodings if codecs.lookup(encoding).name not in ("utf-16", "utf-32")]


def _decode(pieces: Iterator[bytes], encoding: str) -> _Decoding:
    """Decodes strictly and keeps nothing; plain ASCII portions cost nothing where they cannot be wrong."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    plain = line_safe(encoding)
    result = _Decoding()
    offset = 0
    for portion in pieces:
        waiting = len(decoder.getstate()[0])
        if plain and not waiting and portion.isascii():
            offset += len(portion)
            continue
        try:
            text = decoder.decode(portion)
        except UnicodeError as error:
            result.failed_at = offset - waiting + getattr(error, "start", 0)
            return result
        result.multibyte = result.multibyte or not text.isascii()
        offset += len(portion)
    result.cut = bool(decoder.getstate()[0])
    return result


def _binary(head: bytes, again: _Again, nul_at: int) -> ReadError:
    what = next((name for start, name in _KNOWN_STARTS if head.startswith(start)), "no text")
    line = _line_at(again(), nul_at)
    return ReadError(
        "binary", f"The file is {what}: it holds bytes in line {line} that no text export has.",
        hint="Export as text (CSV) to this folder. The file is kept in quarantine as it came.", line=line,
    )


def _wrong(tried: list[tuple[str, _Decoding]], again: _Again) -> ReadError:
    # The encoding that got furthest tells best where the trouble is.
    encoding, best = max(tried, key=lambda entry: entry[1].failed_at or 0, default=("", _Decoding()))
    if not encoding:
        return ReadError("wrong_encoding", "The file has no byte order mark, so its byte order would be a guess.",
                         hint='Name it in `reader.encodings`: "utf-16-le" or "utf-16-be".', line=1)
    at = best.failed_at or 0
    line = _line_at(again(), at)
    byte = _byte_at(again(), at)
    return ReadError(
        "wrong_encoding", f"The file is not {_listed([name for name, _ in tried])} text: "
        f"the byte {byte:02X} in line {line} is no character there.",
        hint="Add the encoding the till writes to `reader.encodings`, for example \"cp850\".", line=line,
    )


class _LongestLine:
    """Finds a line longer than ROW_BYTES_MAX without keeping it; portions are smaller than that."""

    def check(self) -> None:
        """Raises ReadError `row_long`."""
        if self.too_long:
            raise ReadError(
                "row_long", f"Line {self.number} is longer than {ROW_BYTES_MAX:,} bytes.",
                hint="Look at the file: it may be no text export at all, or its line ends are missing.",
                line=self.number,
            )

    def __init__(self) -> None:
        self.too_long = False
        self.number = 1
        self._run = 0

    def take(self, portion: bytes) -> None:
        if self.too_long:
            return
        first = _line_end(portion)
        if first < 0:
            self._run += len(portion)
            self.too_long = self._run > ROW_BYTES_MAX
            return
        if self._run + first > ROW_BYTES_MAX:
            self.too_long = True
            return
        self.number += portion.count(b"\n") or portion.count(b"\r")
        self._run = len(portion) - 1 - max(portion.rfind(b"\n"), portion.rfind(b"\r"))


def _line_end(portion: bytes) -> int:
    found = [at for at in (portion.find(b"\n"), portion.find(b"\r")) if at >= 0]
    return min(found, default=-1)


def _line_at(pieces: Iterator[bytes], offset: int) -> int:
    """The 1-based line of a byte."""
    line = 1
    for portion in pieces:
        line += portion.count(b"\n", 0, offset)
        offset -= len(portion)
        if offset <= 0:
            break
    return line


def _byte_at(pieces: Iterator[bytes], offset: int) -> int:
    for portion in pieces:
        if offset < len(portion):
            return portion[offset]
        offset -= len(portion)
    raise AssertionError("the offset lies inside the file")


def _listed(encodings: "tuple[str, ...] | list[str]") -> str:
    return " or ".join(encodings)
