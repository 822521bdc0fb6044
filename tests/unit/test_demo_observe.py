"""The observer: turns answers of the shop window into sights, only where something differs."""

from decimal import Decimal
from typing import Any

from tests.demo.compare import Sight
from tests.demo.observe import Observer, look
from tests.demo.truth import Value


def answer(version: int, since: int, removed: tuple[str, ...] = (), **stock: int) -> dict[str, Any]:
    """An answer of the shop window; each code is a variant of its own."""
    return {
        "v": 1, "version": version, "since": since, "removed": [f"pos:{code}" for code in removed],
        "items": [
            {"variant": f"pos:{code}", "codes": [code], "title": code, "available": str(pieces), "price": "2.50",
             "was": None, "currency": "CHF", "changed_at": "2026-11-23T08:00:00Z"}
            for code, pieces in stock.items()
        ],
    }


def value(pieces: int) -> Value:
    """What the answers above show."""
    return Value(Decimal(pieces), Decimal("2.50"))


def test_only_differences_are_sights() -> None:
    """The same value again is no sight; a removed variant is one."""
    observer = Observer("127.0.0.1", 1)
    observer.note(1.0, look(answer(1, 0, a=3, b=4)))
    observer.note(2.0, look(answer(2, 1, a=3, b=5)))
    observer.note(3.0, look(answer(3, 2, removed=("a", "never-seen"))))
    assert observer.sights == [
        Sight(1.0, "a", value(3)), Sight(1.0, "b", value(4)), Sight(2.0, "b", value(5)), Sight(3.0, "a", None),
    ]
    assert observer.shown == {"b": value(5)}


def test_a_whole_answer_removes_what_it_does_not_name() -> None:
    """After a restored server everything is told anew; what is not told is not shown any more."""
    observer = Observer("127.0.0.1", 1)
    observer.note(1.0, look(answer(7, 0, a=3, b=4)))
    observer.note(2.0, look(answer(2, 0, b=4)))
    assert observer.sights[2:] == [Sight(2.0, "a", None)]


def test_a_code_that_leaves_its_variant_is_not_shown_any_more() -> None:
    """Relinked codes vanish from the variant that had them."""
    observer = Observer("127.0.0.1", 1)
    both = answer(1, 0, a=3)
    both["items"][0]["codes"] = ["a", "a2"]
    observer.note(1.0, look(both))
    assert look(both).by_code() == {"a": value(3), "a2": value(3)}
    observer.note(2.0, look(answer(2, 1, a=3)))
    assert observer.shown == {"a": value(3)}
    assert observer.sights[-1] == Sight(2.0, "a2", None)
