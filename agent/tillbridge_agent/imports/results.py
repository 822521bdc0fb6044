"""What import formats give back: a file to place, and what a till answered."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rendered:
    """An import file: its name, its exact bytes, and sentences about texts that could not be written as they are.

    The notes tell of fields and never of their content, which may be personal.
    """

    name: str
    body: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the till says of one order; `line` is the line of the answer file, 1 is the first."""

    order: str
    state: Literal["accepted", "rejected"]
    message: str
    line: int


@dataclass(frozen=True, slots=True)
class AnswerProblem:
    """A line of an answer file that says nothing we understand; `code` tells why, `message` what to look at."""

    line: int
    code: str
    message: str
