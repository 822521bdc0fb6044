"""Two servers on one PostgreSQL: what one may do once is done once, however close the race."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from tests.engines import Postgres
from tests.integration.orders import NOW, Chain
from tests.unit.server.inbox_till import made_till, sale, stock

from tillbridge_protocol.positions import Ack, Boot, Position, Resync
from tillbridge_server.agents import inbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.core.breakers import TO_ZERO
from tillbridge_server.dashboard import people
from tillbridge_server.errors import NotPossible
from tillbridge_server.store import deciding, holds, order_intake, publishing
from tillbridge_server.store.database import Store, make_engine
from tillbridge_server.store.migrations import current
from tillbridge_server.store.tables import batch_log, fact_history, hold, ledger, publish_task, reservation

pytestmark = pytest.mark.postgresql
ROUNDS = 5


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database of its own, with every table."""
    made = postgres.make(migrated=True)
    yield made
    postgres.drop(made)


@pytest.fixture
def servers(url: str) -> Iterator[tuple[Store, Store]]:
    """Two stores as two processes have them: each with its own threads and connections."""
    both = Store(make_engine(url)), Store(make_engine(url))
    assert all(one.shared for one in both)
    yield both
    for one in both:
        one.close()


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def at_once(servers: tuple[Store, Store], calls: list[Call]) -> list[Any]:
    """What each call answers, or its error; all start together, by turns on both servers."""
    gate = threading.Barrier(len(calls))

    def go(number: int) -> Any:
        call, args, given = calls[number]
        gate.wait()
        try:
            return servers[number % 2].submit(call, *args, **given).result()
        except Exception as error:  # it is the answer
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(go, range(len(calls))))


def rows(server: Store, table: sa.Table) -> list[Any]:
    """Everything in a table."""
    return list(server.submit(lambda conn: conn.execute(sa.select(table)).all()).result())


def test_a_batch_that_comes_eight_times_is_applied_once(servers: tuple[Store, Store]) -> None:
    """The line repeated it, the load balancer spread it: one ack, the others repeat it or ask to begin anew."""
    till = made_till(servers[0].engine)
    for number in range(ROUNDS):
        batch = till.batch(stock("001", number), sale(f"R{number}"))
        calls: list[Any] = []
        for request in range(8):
            lane = Lane(till.position, Boot("b1", till.requests + request + 1), till.at)
            calls.append((inbox.receive_batch, ("a1", batch.body, lane), {"backs_up": False, "now": till.at}))
        answers = at_once(servers, calls)
        acks = [one for one in answers if isinstance(one, Ack)]
        assert len(acks) + sum(isinstance(one, Resync) for one in answers) == 8, answers
        assert [one.repeated for one in acks].count(False) == 1
        till.position, till.requests = Position(batch.epoch, batch.seq, batch.head), till.requests + 8
    assert [len(rows(servers[0], table)) for table in (batch_log, ledger, fact_history)] == [ROUNDS] * 3


def test_two_batches_for_one_position(servers: tuple[Store, Store]) -> None:
    """Two machines with one identity at the same moment: one of them is believed."""
    till = made_till(servers[0].engine)
    batches = [till.batch(stock("001", 1)), till.batch(stock("001", 2))]
    answers = at_once(servers, [
        (inbox.receive_batch, ("a1", one.body, Lane(till.position, Boot("b1", n + 1), till.at)),
         {"backs_up": False, "now": till.at}) for n, one in enumerate(batches)
    ])
    assert Counter(type(one) for one in answers) == {Ack: 1, Resync: 1}
    assert len(rows(servers[0], batch_log)) == 1


def test_due_values_are_taken_by_one(servers: tuple[Store, Store]) -> None:
    """Eight publishers empty the queue: each value is leased to one of them."""
    def fill(conn: sa.Connection) -> None:
        conn.execute(publish_task.insert(), [
            {"storefront": "window", "variant_id": f"pos:{n:03}", "version": 1, "value": '{"hide":true}',
             "due_at": NOW, "queued_at": NOW, "tries": 0} for n in range(120)
        ])

    servers[0].submit(fill).result()
    taken: Counter[str] = Counter()
    while len(taken) < 120:
        for answer in at_once(servers, [(publishing.take_due, ("window", NOW), {"limit": 7})] * 8):
            taken.update(task.variant for task in answer)
    assert set(taken.values()) == {1}


def test_a_hold_is_decided_once(servers: tuple[Store, Store]) -> None:
    """One says yes, one says no, both at head office: one is told that it is done."""
    def held(conn: sa.Connection) -> None:
        conn.execute(hold.insert(), [
            {"id": f"b-{n}", "what": "breaker", "place": "window", "since": NOW, "code": TO_ZERO, "message": "",
             "hint": "", "affected": 1, "sample": "[]", "state": "open"} for n in range(ROUNDS)
        ])

    servers[0].submit(held).result()
    for number in range(ROUNDS):
        answers = at_once(servers, [
            (holds.close_hold, (f"b-{number}", verdict), {"by": verdict, "why": "I looked.", "now": NOW})
            for verdict in ("approve", "reject") * 2
        ])
        assert Counter(type(one).__name__ for one in answers) == {"HoldRow": 1, NotPossible.__name__: 3}


def test_there_is_one_first_person(servers: tuple[Store, Store]) -> None:
    """Whoever sets the first password owns the dashboard; there is no second first."""
    answers = at_once(servers, [(people.add_first_person, (f"person {n}", "hash", NOW), {}) for n in range(8)])
    assert answers.count(True) == 1


def test_the_last_piece_is_promised_once(url: str, servers: tuple[Store, Store]) -> None:
    """Two intakes at the same moment: they read what is there and what is promised as if they were alone."""
    chain = Chain(servers[0].engine)
    for number in range(ROUNDS):
        chain.counts("mallow", chain.now, **{f"cup{number}": 1})
        sold = [chain.sold_order(**{f"cup{number}": 1}) for _ in range(4)]
        answers = at_once(servers, [
            (order_intake.take_in, (chain.rules, chain.shop, [one], chain.now), {}) for one in sold
        ])
        assert all(len(one) == 1 for one in answers), answers
    promised = [row for row in rows(servers[0], reservation) if row.location_id == "mallow"]
    assert Counter(row.variant_id for row in promised) == {f"pos:cup{n}": 1 for n in range(ROUNDS)}


def test_offers_are_right_when_the_noise_is_over(servers: tuple[Store, Store]) -> None:
    """Tills tell, two deciders decide, two publishers publish, all at once; at the end nothing is left to change."""
    chain = Chain(servers[0].engine)
    codes = [f"c{n}" for n in range(12)]
    chain.counts("mallow", chain.now, **dict.fromkeys(codes, 9))
    over = threading.Event()

    def tell(place: str) -> None:
        for number in range(12):
            batch_of = {code: (number * 7 + len(code) + n) % 5 for n, code in enumerate(codes[number % 3::3])}
            while True:  # as an agent does that was told to come again
                try:
                    chain.counts(place, chain.now, **batch_of)
                    break
                except sa.exc.DBAPIError as error:
                    if getattr(error.orig, "sqlstate", "") not in ("40001", "40P01", "23505"):
                        raise

    def work(server: Store) -> None:
        while not over.is_set():
            server.submit(deciding.decide, chain.rules, chain.now).result()
            tasks = server.submit(publishing.take_due, "window", chain.now).result()
            server.submit(publishing.record_outcome, tasks, accepted=[task.variant for task in tasks], rejected={},
                          retry_at=chain.now, error="", now=chain.now).result()

    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work, server) for server in servers]
        for done in [threads.submit(tell, place) for place in ("mallow", "sorrel")]:
            done.result()
        over.set()
        for done in working:
            done.result()
    last = servers[0].submit(deciding.decide, chain.rules, chain.now).result()
    assert not last.more
    servers[0].submit(deciding.touch_all, chain.now).result()
    assert servers[0].submit(deciding.decide, chain.rules, chain.now).result().queued == ()


def test_a_value_is_settled_while_its_successor_is_decided(servers: tuple[Store, Store]) -> None:
    """The successor must not inherit the lease of what is settled: it is due now, not in a minute."""
    chain, (here, there) = Chain(servers[0].engine), servers
    chain.counts("mallow", chain.now, cup=9)
    here.submit(deciding.decide, chain.rules, chain.now).result()
    tasks = there.submit(publishing.take_due, "window", chain.now).result()
    chain.counts("mallow", chain.now, cup=8)
    settled: list[object] = []

    def settle(*given: Any) -> None:
        if "FROM publish_task" in given[2] and not settled:
            settled.append(there.submit(
                publishing.record_outcome, tasks, accepted=[task.variant for task in tasks], rejected={},
                retry_at=chain.now, error="", now=chain.now,
            ).result())

    sa.event.listen(here.engine, "before_cursor_execute", settle)
    decided = here.submit(deciding.decide, chain.rules, chain.now).result()
    assert (len(settled), decided.queued) == (1, (("window", "pos:cup"),))
    (due,) = there.submit(publishing.take_due, "window", chain.now).result()
    assert (due.variant, due.version) == ("pos:cup", 1)


def test_two_servers_start_on_an_empty_database(postgres: Postgres) -> None:
    """Both want to make the tables: one does, the other finds them."""
    made = postgres.make()
    start = (
        "import sys; from tillbridge_server.store import database, migrations; "
        "input(); migrations.migrate(database.make_engine(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", start, made], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    engine, model = make_engine(made), make_engine(postgres.url("template"))
    assert current(engine) == current(model)
    assert sorted(sa.inspect(engine).get_table_names()) == sorted(sa.inspect(model).get_table_names())
    for one in (engine, model):
        one.dispose()
    postgres.drop(made)
