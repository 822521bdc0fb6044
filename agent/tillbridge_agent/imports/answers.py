"""Reads what a till answers: response files become yes and no per order; a line nobody understands harms no other."""

import csv
import re

import msgspec

from tillbridge_agent.imports.config import CONTROL, AnswersConfig, same_word
from tillbridge_agent.imports.results import Answer, AnswerProblem
from tillbridge_protocol.orders import OrderId

#: A longer line is no answer; the message of an answer is cut here.
LINE_CHARS_MAX = 20_000
MESSAGE_CHARS_MAX = 500
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")


def read_answers(config: AnswersConfig, data: bytes) -> list[Answer | AnswerProblem]:
    """Every answer of a file in its order, and every line that is none; `config` has no faults.

    Nothing is left out: the same answer may come again, and another one after it. A last line without its end
    waits as a problem (`answer_cut`) where the till ends its lines and more of order or state could follow. Order
    numbers are not looked up here.
    """
    text = data.decode(config.encoding, "replace").removeprefix("\ufeff").rstrip("\x1a")
    columns: dict[str, int] = {} if config.header else _numbered(config)
    found: list[Answer | AnswerProblem] = []
    for number, match in enumerate(_LINE.finditer(text), 1):
        line, end = match[1], match[2]
        if not line.strip():
            continue
        cells = _cells(config, line)
        if cells is None:
            found.append(AnswerProblem(number, "answer_text", "The line is no text with columns."))
        elif columns:
            found.append(_answer(config, columns, cells, number, ended=bool(end)))
        else:
            columns = _named(config, [cell.strip() for cell in cells])
            if wrong := next((name for name, place in columns.items() if place < 0), None):
                message = f"The first line does not name the column {wrong!r} once; nothing of the file was read."
                return [AnswerProblem(number, "answer_columns", message)]
    return found


def _cells(config: AnswersConfig, line: str) -> list[str] | None:
    """The cells of one line; None for what is none. A quote that never closes ends with its line."""
    if len(line) > LINE_CHARS_MAX:
        return None
    try:
        if config.quote:
            rows = list(csv.reader([line], delimiter=config.separator, quotechar=config.quote))
        else:
            rows = list(csv.reader([line], delimiter=config.separator, quoting=csv.QUOTE_NONE))
    except csv.Error:
        return None
    return rows[0] if rows else []


def _numbered(config: AnswersConfig) -> dict[str, int]:
    """Where order, state and message stand, counted from 0."""
    wanted = {"order": config.order, "state": config.state, "message": config.message}
    return {key: column - 1 for key, column in wanted.items() if isinstance(column, int)}


def _named(config: AnswersConfig, names: list[str]) -> dict[str, int]:
    """Where order, state and message stand by the header; -1 under the name of one it does not name just once."""
    wanted = {"order": config.order, "state": config.state, "message": config.message}
    columns: dict[str, int] = {}
    for key, column in wanted.items():
        if isinstance(column, str):
            once = names.count(column) == 1
            columns[key if once else column] = names.index(column) if once else -1
    return columns


def _answer(
    config: AnswersConfig, columns: dict[str, int], cells: list[str], number: int, *, ended: bool
) -> Answer | AnswerProblem:
    if config.ended and not ended and len(cells) <= 1 + max(columns["order"], columns["state"]):
        return AnswerProblem(number, "answer_cut", "The last line has no end yet; it is read when the file has grown.")
    if len(cells) <= max(columns["order"], columns["state"]):
        return AnswerProblem(number, "answer_text", f"The line has {len(cells)} columns, too few for an answer.")
    order, state = cells[columns["order"]].strip(), cells[columns["state"]].strip()
    if not _names_an_order(order):
        return AnswerProblem(number, "answer_order", "The line names no order of ours.")
    message = cells[columns["message"]] if columns.get("message", len(cells)) < len(cells) else ""
    message = CONTROL.sub(" ", message).strip()[:MESSAGE_CHARS_MAX]
    if state.casefold() in same_word(config.accepted):
        return Answer(order, "accepted", message, number)
    if state.casefold() in same_word(config.rejected):
        return Answer(order, "rejected", message, number)
    shown = CONTROL.sub(" ", state)[:40]
    return AnswerProblem(number, "answer_state", f"{shown!r} of order {order} is in neither `accepted` nor `rejected`.")


def _names_an_order(text: str) -> bool:
    try:
        msgspec.convert(text, OrderId)
    except msgspec.ValidationError:
        return False
    return True
