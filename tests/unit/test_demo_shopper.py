"""The demo's shopper: what it chooses, how it takes a no, and what counts as imported once and counted."""

import http.server
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import parse_qs

import pytest
from tests.demo.events import order_lines
from tests.demo.excess import Purchase
from tests.demo.observe import Look
from tests.demo.shopper import ENOUGH, MOMENTS, PIECES, Bought, NotBought, Shopper, candidates, outcome, purchases
from tests.demo.truth import Ordered, Value


def look_at(**stock: int) -> Look:
    """A shop window in which the code of variant v-a is a."""
    shown = {f"v-{code}": ((code,), Value(Decimal(pieces), Decimal("9.95"))) for code, pieces in stock.items()}
    return Look(version=1, whole=True, shown=shown, removed=())


@contextmanager
def window(*answers: tuple[int, dict[str, str]]) -> Iterator[tuple[int, list[dict[str, list[str]]]]]:
    """A shop window that gives these answers to the buy button; gives its port and the forms it got."""
    left, forms = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert (self.path, self.headers["Accept"]) == ("/shop/buy", "application/json")
            forms.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            status, document = left.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_said: object) -> None:
            """Quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1], forms
        server.shutdown()
        thread.join()


def test_only_well_stocked_variants_that_were_not_bought_are_chosen() -> None:
    """Enough pieces, one code, and each code once in a run."""
    seen = look_at(few=int(ENOUGH) - 1, enough=int(ENOUGH), much=40, bought=40)
    assert sorted(candidates(seen, {"bought"}, random.Random(1))) == [("v-enough", "enough"), ("v-much", "much")]


def test_purchases_are_spread_over_the_first_half() -> None:
    """As many moments as purchases; a run without time buys at once."""
    assert len(MOMENTS) == len(PIECES)
    assert list(MOMENTS) == sorted(MOMENTS)
    assert MOMENTS[-1] < 0.5
    shopper = Shopper("127.0.0.1", 1, 1, 1000.0, 30.0)
    assert [shopper.is_due(at) for at in (1000.0, 1002.3, 1002.4)] == [False, False, True]
    assert Shopper("127.0.0.1", 1, 1, 1000.0, 0.0).is_due(1000.0)


def test_a_no_leads_to_another_variant() -> None:
    """Sold out meanwhile is no failure as long as something else can be bought; the order is told by our number."""
    with window((409, {"error": "sold out meanwhile"}), (201, {"order": "WINDOW-1001-7KQ"})) as (port, forms):
        shopper = Shopper("127.0.0.1", port, 1, 0.0, 0.0)
        bought = shopper.buy_next(look_at(a=20, b=30))
    assert bought.order == "WINDOW-1001-7KQ"
    assert [form["quantity"] for form in forms] == [["1"], ["1"]]
    assert {form["variant"][0] for form in forms} == {"v-a", "v-b"}
    assert forms[-1]["variant"] == [f"v-{bought.purchase.code}"]
    assert shopper.bought == [bought]


def test_nothing_to_buy_is_said() -> None:
    """No stock, or only refusals."""
    with pytest.raises(NotBought, match="nothing there are 12 of"):
        Shopper("127.0.0.1", 1, 1, 0.0, 0.0).buy_next(look_at(a=2))
    with window((409, {"error": "sold out"})) as (port, _), pytest.raises(NotBought, match=r"409 .*sold out"):
        Shopper("127.0.0.1", port, 1, 0.0, 0.0).buy_next(look_at(a=20))


ONE = Bought("W-1", Purchase(10.0, "a", Decimal(2)))
RIGHT = Ordered(1, sold=True, export=7, lines={"a": Decimal(2)})


def test_the_outcome_counts_only_what_came_once_and_whole() -> None:
    """Twice imported, other pieces, not counted, unknown: each is placed and no more than that is right of it."""
    assert outcome([ONE], {"W-1": RIGHT}) == (1, 1, 1)
    assert outcome([ONE], {}) == (1, 0, 0)
    assert outcome([ONE], {"W-1": Ordered(2, sold=True, export=7, lines={"a": Decimal(4)})}) == (1, 0, 0)
    assert outcome([ONE], {"W-1": Ordered(1, sold=True, export=7, lines={"a": Decimal(1)})}) == (1, 1, 0)
    assert outcome([ONE], {"W-1": Ordered(1, sold=True, export=None, lines={"a": Decimal(2)})}) == (1, 1, 0)


def test_purchases_learn_their_export_from_the_truth() -> None:
    """What the till has not imported has none."""
    assert purchases([ONE], {"W-1": RIGHT}) == [Purchase(10.0, "a", Decimal(2), export=7)]
    assert purchases([ONE], {}) == [ONE.purchase]


def test_each_step_of_an_order_is_told_once() -> None:
    """Imported, sold, counted; a second import is not overlooked."""
    imported = {"W-1": Ordered(1, sold=False, export=None, lines={})}
    assert order_lines({}, imported) == ["order W-1  imported at the till"]
    assert order_lines(imported, {"W-1": RIGHT}) == ["order W-1  sold at the till", "order W-1  counted by export 7"]
    assert order_lines({"W-1": RIGHT}, {"W-1": RIGHT}) == []
    twice = {"W-1": Ordered(2, sold=False, export=None, lines={})}
    assert order_lines(imported, twice) == ["order W-1  imported at the till ONCE MORE"]
