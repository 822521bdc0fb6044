"""The publish queue: nothing is lost between taking and recording, whatever the storefront does."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from random import Random

import pytest
import sqlalchemy as sa
from tests.unit.server.made import NOW, Chain, item, published, rows_of, stocks, storefront

from tillbridge_protocol.records import Price
from tillbridge_server import reports
from tillbridge_server.core.offers import Shown
from tillbridge_server.core.publishing import BACKOFF_MAX_S, Item, Outcome, Rejection, pause_s
from tillbridge_server.errors import Refused, TryLater
from tillbridge_server.store import publishing, retention
from tillbridge_server.store.database import Store
from tillbridge_server.store.publishing import Recorded, Task
from tillbridge_server.store.tables import breaker_tally, dead_letter, location, mailbox, publish_task
from tillbridge_server.workers.decider import Decider
from tillbridge_server.workers.publisher import LOOK_AGAIN_S, Publisher
from tillbridge_server.workers.sweeper import Sweeper


@pytest.fixture
def queued(chain: Chain) -> Chain:
    """Three values in the queue."""
    chain.tell(*item("01", "1"), *item("02", "2"), *item("03", "3"))
    chain.activate()
    chain.decide()
    return chain


def take(chain: Chain, limit: int = 200) -> list[Task]:
    """Take what is due."""
    with chain.engine.begin() as conn:
        return publishing.take_due(conn, "window", chain.now, limit=limit)


def record(chain: Chain, tasks: list[Task], accepted: list[str] | None = None,
           rejected: Mapping[str, Rejection] | None = None) -> Recorded:
    """Record what became of them; the rest is tried again in a minute."""
    with chain.engine.begin() as conn:
        return publishing.record_outcome(
            conn, tasks, accepted=accepted or [], rejected=rejected or {},
            retry_at=chain.now + dt.timedelta(minutes=1), error="The shop is closed.", now=chain.now,
        )


def test_taken_values_are_leased(queued: Chain) -> None:
    """Nobody else takes them, until the lease runs out or the process that held it is known to be gone."""
    assert [task.variant for task in take(queued, limit=2)] == ["pos:01", "pos:02"]
    assert [task.variant for task in take(queued)] == ["pos:03"]
    assert take(queued) == []
    queued.later(seconds=publishing.LEASE_S)
    assert len(take(queued)) == 3
    with queued.engine.begin() as conn:
        publishing.release_leases(conn, "window", queued.now)
    assert len(take(queued)) == 3


def test_a_value_changed_while_being_sent_is_sent_again(queued: Chain) -> None:
    """What was sent is recorded as shown; the newer value is due at once."""
    tasks = take(queued)
    queued.tell(*stocks("7", 1))
    queued.decide()
    assert take(queued) == []
    record(queued, tasks, accepted=["pos:01", "pos:02", "pos:03"])
    shown = published(queued, "pos:01")
    assert shown is not None
    assert shown.available == 1
    (task,) = take(queued)
    assert (task.variant, task.version) == ("pos:01", 2)
    record(queued, [task], accepted=["pos:01"])
    assert rows_of(queued, publish_task) == []


def test_a_stale_outcome_does_not_remove_a_newer_value_of_the_same_version(queued: Chain) -> None:
    """Another process finished meanwhile and the variant was queued anew."""
    (stale, *_) = take(queued, limit=1)
    record(queued, [stale], accepted=["pos:01"])
    queued.tell(*stocks("7", 1))
    queued.decide()
    record(queued, [stale], accepted=["pos:01"])
    assert [row.version for row in rows_of(queued, publish_task) if row.variant_id == "pos:01"] == [1]


def test_what_the_storefront_said_nothing_about_stays_queued(queued: Chain) -> None:
    """With the error, one more try, and later."""
    done = record(queued, take(queued), accepted=["pos:02", "pos:99"])
    assert (done.published, done.refused, done.kept) == (("pos:02",), (), ("pos:01", "pos:03"))
    rows = rows_of(queued, publish_task)
    assert {(row.variant_id, row.tries, row.error) for row in rows} == {
        ("pos:01", 1, "The shop is closed."), ("pos:03", 1, "The shop is closed.")
    }
    assert take(queued) == []
    queued.later(minutes=1)
    assert len(take(queued)) == 2


def test_a_new_value_does_not_shorten_the_pause(queued: Chain) -> None:
    """The storefront asked for it, whatever the value."""
    record(queued, take(queued))
    queued.tell(*stocks("7", 1))
    queued.decide()
    assert take(queued) == []
    queued.later(minutes=1)
    assert {task.variant: task.tries for task in take(queued)} == {"pos:01": 1, "pos:02": 1, "pos:03": 1}


def test_a_refused_value_becomes_a_dead_letter_and_is_told(queued: Chain) -> None:
    """It leaves the queue, the offer says so, the same refusal again is the same letter, acceptance clears it."""
    refusal = {"pos:01": Rejection("price_too_many_decimals", "Prices have two decimals.")}
    record(queued, take(queued), accepted=["pos:02", "pos:03"], rejected=refusal)
    (letter,) = rows_of(queued, dead_letter)
    assert (letter.origin, letter.place, letter.code) == ("storefront", "window", "price_too_many_decimals")
    assert letter.message == "pos:01: Prices have two decimals."
    assert b'"available":"1"' in letter.payload
    assert rows_of(queued, publish_task) == []
    with queued.engine.begin() as conn:
        told = reports.offers(conn, queued.rules, now=queued.now)["offers"]
    assert [(one["variant"], one["why"]) for one in told] == [
        ("pos:01", ["refused"]), ("pos:02", []), ("pos:03", [])
    ]
    queued.activate()
    with queued.engine.begin() as conn:
        publishing.queue_values(conn, "window", {"pos:01": letter.payload.decode()}, {}, queued.now)
    record(queued, take(queued), rejected=refusal)
    assert len(rows_of(queued, dead_letter)) == 1
    with queued.engine.begin() as conn:
        publishing.queue_values(conn, "window", {"pos:01": letter.payload.decode()}, {}, queued.now)
    record(queued, take(queued), accepted=["pos:01"])
    assert rows_of(queued, dead_letter) == []


def test_one_value_has_one_key_on_every_retry(queued: Chain) -> None:
    """And another value another key."""
    first, second, _ = (publishing.item_of(task) for task in take(queued))
    queued.later(seconds=publishing.LEASE_S)
    assert publishing.item_of(take(queued)[0]).key == first.key != second.key


def test_nothing_taken_records_nothing(queued: Chain) -> None:
    """An empty push is no event."""
    assert record(queued, []) == Recorded((), (), ())


def test_pauses_grow_with_jitter_up_to_a_bound() -> None:
    """Full jitter: anywhere below the bound, never below what the storefront asked."""
    for failures in range(1, 40):
        pauses = [pause_s(failures, Random(seed)) for seed in range(50)]
        bound = min(BACKOFF_MAX_S, 2.0 ** (failures - 1))
        assert 0 <= min(pauses) < bound * 0.3
        assert bound * 0.7 < max(pauses) <= bound
    assert pause_s(1, Random(1), asked_s=90.0) == 90.0
    with pytest.raises(AssertionError):
        pause_s(0, Random(1))


# -- the workers, over a real store ------------------------------------------------------------------------


class Shop:
    """A storefront that answers as told: each answer is an Outcome, an error, or None for "all accepted"."""

    def __init__(self, *answers: Outcome | Exception | None) -> None:
        self.answers = list(answers)
        self.pushes: list[list[str]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def push(self, items: Sequence[Item]) -> Outcome:
        """Remember and answer."""
        self.pushes.append([one.variant for one in items])
        if self.meanwhile is not None:
            await self.meanwhile()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer or Outcome(accepted=frozenset(one.variant for one in items))

    async def read_back(self) -> Mapping[str, Shown]:
        """Not asked here."""
        return {}


class Clock:
    """A clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += dt.timedelta(seconds=seconds)


class Desk:
    """A store with three decided variants, and a publisher for them."""

    def __init__(self, chain: Chain, *answers: Outcome | Exception | None) -> None:
        self.chain = chain
        self.store = Store(self.chain.engine)
        self.clock = Clock()
        self.shop = Shop(*answers)
        self.heard: list[Recorded] = []
        self.wake = asyncio.Event()
        self.publisher = Publisher(
            self.store, "window", self.shop, self.clock, Random(7), self.wake,
            lambda tasks, recorded, now: self.heard.append(recorded),
        )
        self.decider = Decider(self.store, self.chain.rules, self.clock, asyncio.Event(), lambda decided: None)

    async def fill(self) -> None:
        """Three values in the queue, by the decider."""
        def tell(conn: sa.Connection) -> None:
            conn.execute(location.insert().values(
                id="mallow", name="Mallow", phase="orders", time_zone="UTC", created_at=NOW
            ))
        await self.store.run(tell)
        await asyncio.to_thread(self.chain.tell, *item("01", "1"), *item("02", "2"), *item("03", "3"))
        await self.decider.begin()
        decided = await self.decider.step()
        assert len(decided.queued) == 3

    async def waiting(self) -> int:
        """Values in the queue."""
        return await self.store.run(lambda conn: int(
            conn.execute(sa.select(sa.func.count()).select_from(publish_task)).scalar_one()
        ))


@pytest.fixture
def make_desk(make_chain: Callable[..., Chain]) -> Iterator[Callable[..., Desk]]:
    """Makes desks whose storefront gives these answers, on SQLite and on PostgreSQL."""
    made: list[Desk] = []

    def make(*answers: Outcome | Exception | None) -> Desk:
        made.append(Desk(make_chain(storefront(activate="auto")), *answers))
        return made[-1]

    yield make
    for desk in made:
        desk.store.close()


async def test_a_push_publishes_everything_and_asks_again_at_once(make_desk: Callable[..., Desk]) -> None:
    """There may be more; with nothing due it waits."""
    desk = make_desk()
    await desk.fill()
    await desk.publisher.begin()
    assert await desk.publisher.step() == 0
    assert desk.shop.pushes == [["pos:01", "pos:02", "pos:03"]]
    assert desk.heard[0].published == ("pos:01", "pos:02", "pos:03")
    assert await desk.publisher.step() == LOOK_AGAIN_S
    assert len(desk.shop.pushes) == 1


async def test_a_lease_that_another_process_may_hold_is_left_alone(make_desk: Callable[..., Desk]) -> None:
    """A server that starts frees what one that is gone had taken, but only where there can be no other one."""
    desk = make_desk()
    await desk.fill()
    await desk.store.run(publishing.take_due, "window", desk.clock())
    await desk.publisher.begin()
    due = await desk.store.run(publishing.take_due, "window", desk.clock())
    assert len(due) == (0 if desk.store.shared else 3)


@pytest.mark.parametrize("trouble", [
    TryLater("Busy.", retry_after_s=30.0), OSError("connection reset"), TimeoutError(),
])
async def test_trouble_keeps_everything_and_pauses(trouble: Exception, make_desk: Callable[..., Desk]) -> None:
    """Nothing is sent before the pause is over, however often it is woken; then all is sent again."""
    desk = make_desk(trouble)
    await desk.fill()
    assert await desk.publisher.step() > 0
    assert await desk.waiting() == 3
    desk.wake.set()
    await desk.publisher.step()
    assert len(desk.shop.pushes) == 1
    desk.clock.later(30)
    assert await desk.publisher.step() == 0
    assert desk.shop.pushes[1] == ["pos:01", "pos:02", "pos:03"]
    assert await desk.waiting() == 0


async def test_the_pause_holds_for_values_that_come_meanwhile(make_desk: Callable[..., Desk]) -> None:
    """It is the storefront that is in trouble, not the values."""
    desk = make_desk(TryLater("Busy.", retry_after_s=30.0))
    await desk.fill()
    await desk.publisher.step()
    await asyncio.to_thread(desk.chain.tell, *item("04", "4"))
    await desk.decider.step()
    await desk.publisher.step()
    assert len(desk.shop.pushes) == 1
    desk.clock.later(30)
    await desk.publisher.step()
    assert "pos:04" in desk.shop.pushes[1]


async def test_a_refused_push_is_halved_until_the_item_at_fault_is_alone(make_desk: Callable[..., Desk]) -> None:
    """One bad item must not bury the others."""
    desk = make_desk(Refused("broken", "One of these."), None, Refused("broken", "One of these."),
                Refused("title_empty", "A title is needed."), None)
    await desk.fill()
    assert await desk.publisher.step() == 0
    assert desk.shop.pushes == [
        ["pos:01", "pos:02", "pos:03"], ["pos:01"], ["pos:02", "pos:03"], ["pos:02"], ["pos:03"]
    ]
    assert (desk.heard[0].published, desk.heard[0].refused) == (("pos:01", "pos:03"), ("pos:02",))
    assert await desk.waiting() == 0


async def test_items_without_a_word_are_kept(make_desk: Callable[..., Desk]) -> None:
    """Unmentioned is neither accepted nor rejected."""
    desk = make_desk(Outcome(accepted=frozenset({"pos:02"})))
    await desk.fill()
    assert await desk.publisher.step() > 0
    assert desk.heard[0].kept == ("pos:01", "pos:03")
    assert await desk.waiting() == 2


async def test_our_own_mistakes_are_not_taken_for_the_storefronts(make_desk: Callable[..., Desk]) -> None:
    """An assertion stops the worker; the values stay queued."""
    desk = make_desk(AssertionError("our bug"))
    await desk.fill()
    with pytest.raises(AssertionError):
        await desk.publisher.step()
    assert await desk.waiting() == 3


async def test_loops_publish_what_is_decided_until_they_are_stopped(make_desk: Callable[..., Desk]) -> None:
    """Woken by each other; cancelled at any moment; a second start finds what was left."""
    desk = make_desk()
    await desk.fill()
    loop = asyncio.create_task(desk.publisher.run())
    while not desk.heard:
        await asyncio.sleep(0)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert desk.heard[0].published == ("pos:01", "pos:02", "pos:03")


async def test_the_decider_publishes_a_sale_when_its_day_begins(make_desk: Callable[..., Desk]) -> None:
    """No file comes; the storefront's midnight is enough, and other days make no work."""
    desk = make_desk()
    await desk.fill()
    await asyncio.to_thread(desk.chain.tell, Price("01", Decimal("10.00"), "CHF", Decimal("9.00"), "2026-11-24"))
    await desk.decider.step()
    await desk.publisher.step()
    desk.clock.now = dt.datetime(2026, 11, 23, 22, 59, 59, tzinfo=dt.UTC)
    assert (await desk.decider.step()).variants == 0
    desk.clock.later(1)
    assert (await desk.decider.step()).queued == (("window", "pos:01"),)
    assert (await desk.decider.step()).variants == 0


async def test_the_sweeper_forgets_only_what_is_past_its_time(make_desk: Callable[..., Desk]) -> None:
    """Done mail and old tallies go; open holds keep theirs; facts are not touched."""
    desk = make_desk()
    await desk.fill()
    old = NOW - dt.timedelta(days=retention.MAIL_KEPT_DAYS + 1)

    def fill(conn: sa.Connection) -> None:
        for number, done in enumerate((old, NOW, None)):
            conn.execute(mailbox.insert().values(
                agent_id="a", id=str(number), created_at=old, body="{}", done_at=done
            ))
        for number, (hold_id, since) in enumerate([(None, old), ("b-1", old), (None, NOW)]):
            conn.execute(breaker_tally.insert().values(
                storefront="window", breaker="to_zero", cause=str(number), passed=1, holds=0, hold_id=hold_id,
                since=since,
            ))

    await desk.store.run(fill)
    assert await Sweeper(desk.store, desk.clock).step() == retention.Swept(mail=1, tallies=1, batches=0)
    assert await Sweeper(desk.store, desk.clock).step() == retention.Swept(mail=0, tallies=0, batches=0)
