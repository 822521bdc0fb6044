"""The `reader` table of a feed whose format is delimited; sample.toml beside it explains every key."""

import codecs
import functools
from typing import Annotated

import msgspec


class DelimitedConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="format", tag="delimited", kw_only=True
):
    """How the rows of a delimited file are written."""

    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=8)] = ";"
    quote: Annotated[str, msgspec.Meta(max_length=1)] = '"'
    encodings: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("utf-8", "cp1252")
    header: bool = True
    columns: tuple[str, ...] = ()
    skip_lines: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0

    def faults(self) -> list[tuple[str, str, str]]:
        """What decoding by type alone cannot see: (key, message, hint) of each fault."""
        found = []
        if "\n" in self.separator or "\r" in self.separator:
            found.append(("separator", "A line end cannot separate cells.", 'Use the character between cells, as ";".'))
        if self.quote and (self.quote in self.separator or self.quote in "\r\n"):
            found.append(("quote", "The quote mark cannot be part of the separator or a line end.",
                          'Use quote = "" when quote marks have no meaning in this file.'))
        found += [
            ("encodings", f"{encoding!r} is not a known text encoding.",
             'Known ones are for example "utf-8", "cp1252", "iso-8859-1", "cp850", "utf-16".')
            for encoding in self.encodings if not is_text_codec(encoding)
        ]
        if self.header and self.columns:
            found.append(("columns", "Columns are named here and in the header of the file.",
                          "Leave `columns` out, or say header = false."))
        if not self.header and not self.columns:
            found.append(("columns", "A file without a header needs the names of its columns.",
                          'Name them in file order: columns = ["ArtNr", "Bestand"].'))
        if len(set(self.columns)) != len(self.columns) or "" in self.columns:
            found.append(("columns", "Each column needs a name of its own.", "Give every column a different name."))
        return found


@functools.cache
def line_safe(encoding: str) -> bool:
    """True when bytes below 128 are themselves and part of nothing else, so bytes can be cut at separators and lines.

    That is utf-8 and the one-byte encodings that extend ASCII.
    """
    name = codecs.lookup(encoding).name
    if name in ("utf-8", "utf-8-sig"):
        return True
    if name.startswith(("utf-7", "iso2022", "hz")):
        return False
    decoder = codecs.getincrementaldecoder(encoding)
    try:
        characters = [decoder("replace").decode(bytes([byte])) for byte in range(256)]
    except UnicodeError:
        return False  # names of internet hosts and the like: no encoding of files
    return all(characters) and "".join(characters[:128]) == bytes(range(128)).decode("ascii")


def is_text_codec(encoding: str) -> bool:
    """Whether an encoding of this name makes text of bytes."""
    try:
        codecs.getincrementaldecoder(encoding)
        # Codecs that make bytes of bytes (base64) refuse here; bytes that do not fit are none of our business.
        b"AAAA".decode(encoding)
    except UnicodeError:
        return True
    except (LookupError, ValueError):
        return False
    return True
