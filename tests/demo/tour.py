"""One demo run on an open stage: tells what happens, waits for the first publication, measures and judges."""

import time
from decimal import Decimal
from typing import Any

from tests.demo.compare import Equal, Latency, latencies_ms, max_excess, shows_only, states, summary
from tests.demo.console import say
from tests.demo.events import LogTail, Stories, set_aside
from tests.demo.judge import compare_now, count, wait_for_quiet
from tests.demo.place import SETTLE_S, STOCK_FEED
from tests.demo.programs import agent_status
from tests.demo.report import Counts, Run, build
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

    def watch(self, seconds: float | None) -> None:
        """Tells what happens for `seconds`, None = for ever. Raises Trouble when a process ends by itself."""
        ends = None if seconds is None else time.monotonic() + seconds
        while ends is None or time.monotonic() < ends:
            self._tick_and_wait()

    def measure(self, seconds: float) -> None:
        """Measures for `seconds`, ends the selling, waits for quiet and judges. Raises Trouble, CallError."""
        stage, truth = self._stage, self._truth
        since = time.time()
        say(f"demo: first publication is there; measuring for {seconds:g} s")
        self.watch(seconds)
        stage.close_till(self._tick)
        say("demo: selling has stopped; waiting for quiet")
        self._follower.refresh()
        if not wait_for_quiet(stage.place, truth, stage.observer, self._tick):
            say("demo: it is not quiet after 30 s; comparing anyway")
        until, sights = time.time(), list(stage.observer.sights)
        self._latency = summary(latencies_ms(truth.base, truth.writes, sights, settle_s=SETTLE_S, since=since))
        excess = max_excess(truth.base, truth.writes, sights, settle_s=SETTLE_S, since=since, until=until)
        self._equal = compare_now(stage.place, truth, stage.window(), excess)
        published = len(sights) - self._sights_before
        self._counts = count(stage.before, agent_status(stage.place), truth, published)

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
        for story in self._stories.finished(self._truth.writes, self._stage.observer.sights, now):
            say(story.line())
