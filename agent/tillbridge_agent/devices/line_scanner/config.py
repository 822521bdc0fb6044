"""The `protocol` table of a device whose type is line_scanner; sample.toml beside it explains every key."""

import codecs
from typing import Annotated

import msgspec

from tillbridge_protocol.limits import KEY_CHARS_MAX

#: Up to eight bytes, each written as the character of its number: "\r", "\u0002".
Mark = Annotated[str, msgspec.Meta(max_length=8, pattern=r"^[\x00-\xff]*\Z")]
Millis = Annotated[int, msgspec.Meta(ge=0, le=60_000)]


class LineScannerConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="line_scanner", kw_only=True
):
    """How labels are framed, and whether the scanner waits for an answer. Times in milliseconds."""

    prefix: Mark = ""
    suffix: Mark = "\r"
    aim: bool = False
    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=8, pattern=r"^[\x00-\xff]+\Z")] = "\x1d"
    encoding: Annotated[str, msgspec.Meta(min_length=1)] = "utf-8"
    length_min: Annotated[int, msgspec.Meta(ge=1, le=KEY_CHARS_MAX)] = 1
    length_max: Annotated[int, msgspec.Meta(ge=1, le=KEY_CHARS_MAX)] = 128
    gap_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 500
    repeat_ms: Millis = 0
    ack: Mark = ""
    nak: Mark = ""
    ack_wait_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 2000

    def faults(self) -> list[tuple[str, str, str]]:
        """What decoding by type alone cannot see: (key, message, hint) of each fault."""
        found = []
        if self.prefix and self.suffix and (self.prefix in self.suffix or self.suffix in self.prefix):
            found.append(("prefix", "Prefix and suffix cannot be told apart.",
                          'Give the scanner different ones, as prefix = "\\u0002" and suffix = "\\r".'))
        found += [
            (key, f"NUL and 0xFF are what an unplugged cable makes, so they cannot be the {key}.",
             "Give the scanner another character.")
            for key in ("prefix", "suffix", "separator") if {"\x00", "\xff"} & set(getattr(self, key))
        ]
        if self.length_min > self.length_max:
            found.append(("length_min", "The shortest label would be longer than the longest.",
                          "Lower length_min or raise length_max."))
        if self.nak and not self.ack:
            found.append(("nak", "A scanner that gets a NAK also waits for an ACK.", 'Add ack = "\\u0006".'))
        if not _is_text_encoding(self.encoding):
            found.append(("encoding", f"{self.encoding!r} is not a known text encoding.",
                          'Known ones are for example "utf-8", "ascii", "cp1252".'))
        return found


def _is_text_encoding(name: str) -> bool:
    try:
        return len(b"7612".decode(codecs.lookup(name).name)) > 0
    except UnicodeError:
        return True
    except (LookupError, ValueError, TypeError):
        return False
