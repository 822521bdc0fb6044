"""The structs of the `orders` table that every import format shares, and what is wrong with them beyond their types."""

import fnmatch
import re
from typing import Annotated

import msgspec

from tillbridge_agent.core.feed import Seconds
from tillbridge_agent.readers.delimited.config import is_text_codec, line_safe

#: (key, message, hint) of something that decoding by type alone cannot see; keys are dotted from `orders`.
Fault = tuple[str, str, str]
#: The name of a column where the file has a header, else its number: 1 is the first.
ColumnRef = Annotated[str, msgspec.Meta(min_length=1)] | Annotated[int, msgspec.Meta(ge=1, le=2000)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

FILE_NAME_CHARS_MAX = 100
_PLACE = re.compile(r"\{(?:(order)|(revision|sequence)(?::0([1-9])d)?)\}")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
#: Windows opens a device instead of a file of such a name, whatever its extension.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
#: Control characters, and whatever any program may take for a line end.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WIDE = {"utf-16", "utf-16-le", "utf-16-be"}


class AnswersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the till writes what became of an order, and in which columns and words."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    pattern: Annotated[str, msgspec.Meta(min_length=1)]
    encoding: str = "cp1252"
    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ";"
    quote: Annotated[str, msgspec.Meta(max_length=1)] = '"'
    header: bool = False
    ended: bool = True
    order: ColumnRef = 1
    state: ColumnRef = 2
    message: ColumnRef | None = None
    accepted: Annotated[tuple[Word, ...], msgspec.Meta(min_length=1)]
    rejected: tuple[Word, ...] = ()
    settle_s: Seconds = 1.0

    def faults(self) -> list[Fault]:
        """What decoding by type alone cannot see."""
        found = encoding_faults("answers.encoding", self.encoding)
        found += mark_faults("answers.", self.separator, self.quote)
        columns = {"order": self.order, "state": self.state, "message": self.message}
        used: dict[ColumnRef, str] = {}
        for key, column in columns.items():
            if column is None:
                continue
            if isinstance(column, str) != self.header:
                found.append((f"answers.{key}", "A column goes by name where there is a header, else by number.",
                              'Say header = true and order = "Auftrag", or header = false and order = 1.'))
            elif column in used:
                found.append((f"answers.{key}", f"Column {column!r} is already the one of `{used[column]}`.",
                              "Each of order, state and message stands in a column of its own."))
            used.setdefault(column, key)
        if both := same_word(self.accepted) & same_word(self.rejected):
            found.append(("answers.rejected", f"{min(both)!r} cannot mean both yes and no.",
                          "Take it out of `accepted` or out of `rejected`."))
        return found


class ImportConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every format says: where import files go, what they are called, how texts are written."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    spool: str = ""
    name: str = "ORD{sequence:05d}.CSV"
    encoding: str = "cp1252"
    substitute: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = "?"
    time_zone: str | None = None
    answers: AnswersConfig | None = None

    def base_faults(self) -> list[Fault]:
        """What decoding by type alone cannot see, in the keys that all formats share."""
        found = _name_faults(self.name) + encoding_faults("encoding", self.encoding)
        if not found and not fits(self.substitute, self.encoding):
            found.append(("substitute", f"{self.encoding} has no character {self.substitute!r} either.",
                          'Take one that it has, as "?".'))
        if CONTROL.search(self.substitute) or self.substitute.isspace():
            found.append(("substitute", "A blank or a control character shows nobody that something is missing.",
                          'Take a visible character, as "?".'))
        if self.answers is not None:
            found += self.answers.faults()
        return found


def file_name(name: str, *, order: str, revision: int, sequence: int) -> str:
    """The name of an import file; `name` has been checked by `base_faults`."""
    values: dict[str, str | int] = {"order": order, "revision": revision, "sequence": sequence}
    return _PLACE.sub(lambda place: str(values[place[1] or place[2]]).zfill(int(place[3] or 0)), name)


def may_match(name: str, pattern: str) -> bool:
    """Whether a pattern fits import files of this name, as folders are listed (large and small letters alike)."""
    made = (
        file_name(name, order=order, revision=revision, sequence=sequence)
        for order in ("WEB-1000-AAA", "WEB-2171-7ZK") for revision in (1, 12) for sequence in (1, 17, 4711, 123_456)
    )
    return any(fnmatch.fnmatch(each.lower(), pattern.lower()) for each in made)


def same_word(words: tuple[str, ...]) -> set[str]:
    """Words as they are compared: without blanks around them, large and small letters alike."""
    return {word.strip().casefold() for word in words}


def fits(text: str, encoding: str) -> bool:
    """Whether the encoding has every character of a text."""
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def encoding_faults(key: str, encoding: str) -> list[Fault]:
    """Encodings that nobody knows, or in which a separator may be part of another character."""
    hint = 'Usual ones are "cp1252", "iso-8859-1", "cp850", "utf-8", "utf-8-sig" (with a mark at its start), "utf-16".'
    if not is_text_codec(encoding):
        return [(key, f"{encoding!r} is not a known text encoding.", hint)]
    if encoding.lower().replace("_", "-") in _WIDE or line_safe(encoding):
        return []
    return [(key, f"{encoding!r} is not an encoding that can be read line by line here.", hint)]


def mark_faults(prefix: str, separator: str, quote: str) -> list[Fault]:
    """Marks that would be read as something else, or as each other."""
    found: list[Fault] = []
    if separator != "\t" and (separator.isalnum() or separator.isspace() or CONTROL.search(separator)
                              or separator in "-+_."):
        found.append((f"{prefix}separator", f"{separator!r} cannot stand between cells: it stands in their texts.",
                      'Usual ones are ";", ",", "|" and "\\t".'))
    if quote and (quote.isalnum() or quote.isspace() or CONTROL.search(quote) or quote == separator):
        found.append((f"{prefix}quote", f"{quote!r} cannot be the mark around cells.",
                      'Usual is "\\""; "" writes no quote marks at all.'))
    return found


def _name_faults(name: str) -> list[Fault]:
    places = {place[1] or place[2] for place in _PLACE.finditer(name)}
    example = file_name(name, order="WEB-1009-7ZK", revision=1, sequence=17)
    found: list[Fault] = []
    if not _SAFE_NAME.fullmatch(example) or example.endswith("."):
        found.append(("name", f"{name!r} does not make a safe file name.",
                      'Letters, digits, "-", "_", "." and {sequence}, {order}, {revision}: "ORD{sequence:05d}.CSV".'))
    elif _DEVICES.fullmatch(example):
        found.append(("name", f"Windows keeps the name {example!r} for a device.", 'As "ORD{sequence:05d}.CSV".'))
    elif len(file_name(name, order="W" * 40, revision=10**6, sequence=10**9)) > FILE_NAME_CHARS_MAX:
        found.append(("name", f"The file names would be longer than {FILE_NAME_CHARS_MAX} characters.",
                      'Make it shorter, as "ORD{sequence:05d}.CSV".'))
    elif "sequence" not in places and not {"order", "revision"} <= places:
        found.append(("name", "Two orders would get files of the same name; tills take a name only once.",
                      'Put {sequence} into it: "ORD{sequence:05d}.CSV".'))
    return found
