"""One demo run on an open stage: tells what happens, waits for the first publication, measures and judges."""

import time
from decimal import Decimal
from typing import Any

from tests.demo.compare import Equal, Latency, latencies_ms, shows_only, states, summary
from tests.demo.console import say
from tests.demo.events import LogTail, Stories, clock, order_lines, set_aside
from tests.demo.excess import max_excess
from tests.demo.judge import compare_now, count, wait_for_quiet
from tests.demo.place import SETTLE_S, STOCK_FEED
from tests.demo.programs import agent_status, open_orders
from tests.demo.report import Counts, Run, build
from tests.demo.shopper import NotBought, Shopper, outcome, purchases
from tests.demo.stage import Stage, Trouble
from tests.demo.truth import TruthFile

TICK_S = 0.05
FIRST_PUBLICATION_S = 60.0


class Tour:
    """Follows one run; after `measure` its report is complete, before that it holds zeros."""

    def __init__(self, stage: Stage) -> None:
        """The stage is open, the till still closed."""
        self._stage = stage
        self._follower = TruthFile(stage.place.truth)
        self._truth = self._follower.truth
        self._tail = LogTail(stage.place.log("agent"))
        self._stories = Stories(STOCK_FEED)
        self._sights_before = len(stage.observer.sights)
        self._orders_told = dict(self._truth.orders)
        self._latency = Latency(0, 0, 0, 0)
        self._equal = Equal(0, 0, 0, 0, 0, 0, max_excess=Decimal(0))
        self._counts = Counts()

    def report(self, seed: int, seconds: float, troubles: tuple[str, ...]) -> dict[str, Any]:
        """The JSON document of this run."""
        return build(Run(seed, seconds, SETTLE_S, troubles), self._counts, self._latency, self._equal)

    def wait_for_first_publication(self) -> None:
        """Until the shop window shows all variants as exports of this run have them. Raises Trouble."""
        ends = time.monotonic() + FIRST_PUBLICATION_S
        while not shows_only(self._stage.observer.shown, states(self._truth.base, self._truth.writes)):
            if time.monotonic() > ends:
                words = f"The shop window did not show the till's values within {FIRST_PUBLICATION_S:.0f} s."
                raise Trouble("first publication", words, self._stage.child("agent"))
            self._tick_and_wait()

    def watch(self) -> None:
        """Tells what happens, for ever. Raises Trouble when a process ends by itself."""
        while True:
            self._tick_and_wait()

    def _sell_and_buy(self, shopper: Shopper, ends: float) -> None:
        """Tells what happens until `ends` (seconds since 1970), and buys in the shop window when it is time."""
        while (now := time.time()) < ends or shopper.is_due(now):
            if shopper.is_due(now):
                try:
                    bought = shopper.buy_next(self._stage.window().read(0))
                except NotBought as error:
                    words = f"Nothing could be bought: {error}."
                    raise Trouble("shopper", words, self._stage.child("server")) from error
                what = self._truth.titles.get(bought.purchase.code, bought.purchase.code)
                say(f"{clock(bought.purchase.at)}  order {bought.order}  bought {bought.purchase.pieces} × {what}")
            self._tick_and_wait()

    def measure(self, seed: int, seconds: float) -> None:
        """Measures for `seconds`, ends the selling, waits for quiet and judges. Raises Trouble, CallError."""
        stage, truth = self._stage, self._truth
        since = time.time()
        shopper = stage.shopper(seed, since, seconds)
        say(f"demo: first publication is there; measuring for {seconds:g} s")
        self._sell_and_buy(shopper, since + seconds)
        stage.close_till(self._tick)
        say("demo: selling has stopped; waiting for quiet")
        self._follower.refresh()
        if not wait_for_quiet(stage.place, truth, stage.observer, self._tick):
            say("demo: it is not quiet after 30 s; comparing anyway")
        until, sights = time.time(), list(stage.observer.sights)
        mine = purchases(shopper.bought, truth.orders)
        reserved = {purchase.code for purchase in mine}
        self._latency = summary(
            latencies_ms(truth.base, truth.writes, sights, settle_s=SETTLE_S, since=since, reserved=reserved),
        )
        excess = max_excess(
            truth.base, truth.writes, sights, settle_s=SETTLE_S, since=since, until=until, purchases=mine,
        )
        self._equal = compare_now(stage.place, truth, stage.window(), excess)
        published = len(sights) - self._sights_before
        still_open = open_orders(stage.place)
        for order in still_open:
            say(f"demo: still open: {order}")
        orders = (*outcome(shopper.bought, truth.orders), len(still_open))
        self._counts = count(stage.before, agent_status(stage.place), truth, published, orders)

    def _tick_and_wait(self) -> None:
        self._tick()
        time.sleep(TICK_S)

    def _tick(self) -> None:
        """Takes in what is new and tells the stories that are complete."""
        self._stage.check_children()
        self._follower.refresh()
        now = time.time()
        for event in self._tail.new_events():
            self._stories.take(event, now)
            if (words := set_aside(event, now)) is not None:
                say(words)
        for words in order_lines(self._orders_told, self._truth.orders):
            say(f"{clock(now)}  {words}")
        self._orders_told = self._truth.orders
        for story in self._stories.finished(self._truth.writes, self._stage.observer.sights, now):
            say(story.line())
