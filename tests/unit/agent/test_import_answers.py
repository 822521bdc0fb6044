"""What a till answers: yes and no per order; whatever else a file holds becomes a problem and harms no other line."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_agent.imports import Answer, AnswerProblem, AnswersConfig, read_answers
from tillbridge_agent.imports.answers import LINE_CHARS_MAX, MESSAGE_CHARS_MAX


def config(**keys: Any) -> AnswersConfig:
    """An answers table without faults."""
    words = {"accepted": ["OK"], "rejected": ["ERR", "Fehler"]}
    given = {"path": "answers", "pattern": "*.ANS", "message": 3, **words, **keys}
    made: AnswersConfig = msgspec.convert(given, AnswersConfig)
    assert made.faults() == []
    return made


def read(text: str | bytes, **keys: Any) -> list[tuple[Any, ...]]:
    """(order, state, message, line) of each answer, (line, code) of each problem."""
    data = text if isinstance(text, bytes) else text.encode("cp1252")
    return [
        (each.order, each.state, each.message, each.line) if isinstance(each, Answer) else (each.line, each.code)
        for each in read_answers(config(**keys), data)
    ]


YES, NO = ("WEB-1", "accepted", "", 1), ("WEB-2", "rejected", "gesperrt", 2)


@pytest.mark.parametrize(("text", "keys"), [
    ("WEB-1;OK;\r\nWEB-2;ERR;gesperrt\r\n", {}),
    ("WEB-1;OK;\nWEB-2;fehler;gesperrt\n", {}),
    ("WEB-1;ok;\rWEB-2;err;gesperrt\r", {}),
    (" WEB-1 ; OK ;\r\n WEB-2;ERR; gesperrt \r\n\r\n \r\n\x1a", {}),
    ('"WEB-1";"OK";""\r\n"WEB-2";"ERR";"gesperrt"\r\n', {}),
    ("WEB-1;OK;;x;y\r\nWEB-2;ERR;gesperrt;x;y\r\n", {}),
    ("WEB-1|OK\r\nWEB-2|ERR|gesperrt\r\n", {"separator": "|", "quote": ""}),
    ("OK\t\tWEB-1\r\nERR\tgesperrt\tWEB-2\r\n", {"separator": "\t", "state": 1, "message": 2, "order": 3}),
    ("WEB-1;OK;\r\nWEB-2;ERR;gesperrt\r\n".encode("utf-16"), {"encoding": "utf-16"}),
    ("\ufeffWEB-1;OK;\r\nWEB-2;ERR;gesperrt\r\n".encode(), {"encoding": "utf-8"}),
    ("WEB-1;OK\r\nWEB-2;ERR;gesperrt", {}),
    ("WEB-1;OK\r\nWEB-2;ERR;gesperrt", {"ended": False}),
])
def test_answers_are_read(text: str | bytes, keys: dict[str, Any]) -> None:
    """However the till writes them."""
    assert read(text, **keys) == [YES, NO]


def test_columns_by_name() -> None:
    """In any place, with others between them."""
    keys = {"header": True, "order": "Auftrag", "state": "Status", "message": "Grund"}
    text = "Zeit;Status;Grund;Auftrag\r\n08:00;OK;;WEB-1\r\n08:01;ERR;gesperrt;WEB-2\r\n"
    assert read(text, **keys) == [("WEB-1", "accepted", "", 2), ("WEB-2", "rejected", "gesperrt", 3)]
    assert read("Zeit;Status;Auftrag\r\n08:00;OK;WEB-1\r\n", **keys) == [(1, "answer_columns")]
    assert read("Status;Status;Grund;Auftrag\r\nOK;OK;;WEB-1\r\n", **keys) == [(1, "answer_columns")]
    assert read("Zeit;Status;Grund;Auftrag\r\n", **keys) == []
    problem, = read_answers(config(**keys), b"Zeit;Status;Auftrag\r\n")
    assert isinstance(problem, AnswerProblem)
    assert "'Grund'" in problem.message


@pytest.mark.parametrize(("line", "code"), [
    ("WEB-3", "answer_text"), ("WEB-3;", "answer_state"), ("WEB-3;MAYBE;", "answer_state"), (";OK;", "answer_order"),
    ("4711/12;OK;", "answer_order"), ("../WEB-3;OK;", "answer_order"), (f"{'W' * 41};OK;", "answer_order"),
    ("\x00\x00\x00", "answer_text"), ("WEB-3\x00;OK;", "answer_order"), ("Import vom 14.03.2026", "answer_text"),
    ("x" * (LINE_CHARS_MAX + 1), "answer_text"), ('"WEB-3;OK;', "answer_text"), ("\x81;OK;", "answer_order"),
])
def test_garbage_harms_no_other_line(line: str, code: str) -> None:
    """Before, between and after it the answers count."""
    good = "WEB-{};OK;\r\n"
    data = b"".join(each.encode("latin-1") for each in (good.format(1), line, "\r\n", good.format(2)))
    assert read(data) == [YES, (2, code), ("WEB-2", "accepted", "", 3)]


@pytest.mark.parametrize(("last", "found"), [
    ("WEB-2;ERR;gesp", [("WEB-2", "rejected", "gesp", 2)]), ("WEB-2;ERR;", [("WEB-2", "rejected", "", 2)]),
    ("WEB-2;ERR", [(2, "answer_cut")]), ("WEB-2;", [(2, "answer_cut")]), ("WEB-2", [(2, "answer_cut")]), ("", []),
])
def test_a_cut_last_line_waits(last: str, found: list[tuple[Any, ...]]) -> None:
    """Until order and state are surely whole; a cut message does no harm."""
    assert read(f"WEB-1;OK;\r\n{last}") == [YES, *found]


def test_a_cut_order_is_not_another_order() -> None:
    """Where the number comes last, its end is the end of the line."""
    assert read("OK;WEB-10", order=2, state=1, message=None) == [(1, "answer_cut")]
    assert read("OK;WEB-10\r\n", order=2, state=1, message=None) == [("WEB-10", "accepted", "", 1)]


def test_what_is_said_again_is_told_again() -> None:
    """In the order of the file: whether it is news, or a till that contradicts itself, is known where the order is."""
    text = "WEB-1;ERR;gesperrt\r\nWEB-1;ERR;gesperrt\r\nWEB-1;OK;\r\nWEB-1;ERR;\r\n"
    assert [(found[1], found[3]) for found in read(text)] == [
        ("rejected", 1), ("rejected", 2), ("accepted", 3), ("rejected", 4),
    ]


def test_messages_are_one_line_of_bounded_text() -> None:
    """Whatever the till puts there; a character that the encoding lacks does not cost the answer."""
    found = read(b"WEB-1;ERR;a\x00b\x81 \xe4\r\nWEB-2;ERR;" + b"x" * 2000 + b"\r\n")
    assert found[0] == ("WEB-1", "rejected", "a b\ufffd ä", 1)
    assert len(found[1][2]) == MESSAGE_CHARS_MAX


@given(st.binary(max_size=300), st.booleans(), st.sampled_from(["cp1252", "utf-8", "utf-16", "cp850"]))
def test_no_file_is_a_crash(data: bytes, ended: bool, encoding: str) -> None:
    """Any bytes give answers and problems, each for a line that is there."""
    for each in read_answers(config(ended=ended, encoding=encoding), data):
        assert 1 <= each.line <= data.count(b"\n") + data.count(b"\r") + 1
        assert "\x00" not in each.message


@given(st.data())
def test_a_growing_file_never_takes_an_answer_back(data: st.DataObject) -> None:
    """Read after any number of bytes, what was told then is told in the end too, messages aside."""
    lines = data.draw(st.lists(st.tuples(st.sampled_from(["WEB-1", "WEB-12", "WEB-123"]),
                                         st.sampled_from(["OK", "ERR"]), st.sampled_from(["", ";", ";Grund"]))))
    whole = "".join(f"{order};{state}{rest}\r\n" for order, state, rest in lines).encode()
    told = {(each.order, each.state) for each in read_answers(config(), whole) if isinstance(each, Answer)}
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    assert {(each.order, each.state) for each in read_answers(config(), cut) if isinstance(each, Answer)} <= told
