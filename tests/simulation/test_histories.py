"""Seeded histories of one agent and one server under every fault: in the end nothing is lost, doubled or invented.

`make sim SEEDS=100000` runs many; a failing seed prints its story, and running that seed again is the report.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from tests.simulation.wire import Crash, FaultPlan
from tests.simulation.world import World, template_database

from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import transact
from tillbridge_server.store.tables import agent, dead_letter, fact, ledger

STEPS = 30
QUIET_ROUNDS_MAX = 200
CHUNKS = 8
#: The last export needs two looks to settle, and a heartbeat has to compare positions.
SETTLED_ROUNDS = 12
#: Web orders take most of the time of a history, so one in so many rounds of the plans has them.
ORDERS_EVERY = 8
PLANS = (
    FaultPlan(drop=0.2, lose_answer=0.2, duplicate=0.2, delay=0.2),
    FaultPlan(crash=0.05, lose_answer=0.1),
    FaultPlan(lose_answer=0.1, delay=0.1, restore_agent=0.05),
    FaultPlan(lose_answer=0.1, delay=0.1, restore_server=0.05),
    FaultPlan(lose_answer=0.1, delay=0.1, lose_queue=0.04),
    FaultPlan(drop=0.1, lose_answer=0.1, duplicate=0.1, delay=0.1, crash=0.02, restore_agent=0.02,
              restore_server=0.02, lose_queue=0.02),
)


@pytest.fixture(scope="module", autouse=True)
def quiet_log() -> None:
    """Warnings about resyncs are what we provoke; they would only bury the story."""
    structlog.configure(processors=[_drop])


def _drop(logger: object, name: str, event: dict[str, object]) -> dict[str, object]:
    raise structlog.DropEvent


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_history_ends_equal(chunk: int, request: pytest.FixtureRequest) -> None:
    """Stock equals the POS, the ledger holds each sale line once, no number was ever invented, all is quiet."""
    seeds = int(request.config.getoption("--seeds"))
    shm = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    try:
        template = template_database(root)
        for seed in range(chunk, seeds, CHUNKS):
            run(seed, root / str(seed), template)
            shutil.rmtree(root / str(seed))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run(seed: int, folder: Path, template: bytes) -> World:
    """One history; raises AssertionError with its story."""
    sells = seed // len(PLANS) % ORDERS_EVERY == 0
    world = World(seed, folder, template, PLANS[seed % len(PLANS)], sells=sells)
    try:
        asyncio.run(_history(world))
        _judge(world)
    except BaseException as error:
        story = "\n".join(world.story[-60:])
        pytest.fail(f"seed {seed}: {type(error).__name__}: {error}\n{story}")
    return world


async def _history(world: World) -> None:
    await _live(world)
    await _calm_down(world)


async def _live(world: World) -> None:
    for step in range(STEPS):
        # A till in the middle of its export may pause, but not for minutes.
        world.at_s += world.rng.choice((0.2, 1.0, 3.0) if world.pos.writing else (0.2, 1.0, 3.0, 30.0))
        if world.pos.writing and (step % 3 == 0 or world.rng.random() < 0.5):
            world.pos.go_on_writing()
        try:
            await _step(world)
        except Crash:
            world.start()
        if step % 3 == 0:
            _nothing_invented(world)


async def _step(world: World) -> None:
    draw, plan = world.rng.random(), world.plan
    if draw < 0.25:
        world.pos.sell()
    elif draw < 0.35:
        world.pos.receive()
    elif draw < 0.5:
        cut = world.rng.random() < 0.2
        world.tell("export cut off" if cut else "export")
        world.pos.export(cut)
    elif draw < 0.53:
        world.pos.roll_journal()
    elif draw < 0.56:
        world.back_up_agent()
    elif draw < 0.6:
        world.back_up_server()
    elif draw < 0.66:
        world.wire.deliver_late()
    elif world.sells and draw < 0.72:
        world.web.buy()
    elif world.sells and draw < 0.8:
        world.web.till_imports()
    for odds, fault in (
        (plan.restore_agent, world.restore_agent), (plan.restore_server, world.restore_server),
        (plan.lose_queue, world.lose_queue),
    ):
        if world.rng.random() < odds:
            fault()
    world.look()
    for _ in range(world.rng.randint(0, 3)):
        await world.lane.step()
    if world.sells:
        await world.web.intake_step()
        if world.rng.random() < 0.7:
            await world.web.agent_step()


async def _calm_down(world: World) -> None:
    """No more faults: a last export, and then everything must come to rest by itself."""
    world.calm = True
    world.pos.export()
    world.tell("calm")
    while world.wire.delayed:
        world.wire.deliver_late()
    for rounds in range(QUIET_ROUNDS_MAX):
        world.at_s += 5.0
        if world.sells and rounds and rounds % SETTLED_ROUNDS == 0:
            world.pos.export()
        if world.sells:
            await world.web.intake_step()
            await world.web.agent_step()
            world.web.till_imports()
        world.look()
        wait = await world.lane.step()
        backlog = transact(world.connection, outbox.backlog)
        calm = rounds >= SETTLED_ROUNDS and wait is not None and not backlog.waiting and _heard(world)
        if calm and not world.sells:
            return
        # Not while an export of the till's is still settling.
        if calm and rounds % SETTLED_ROUNDS > SETTLED_ROUNDS // 2 and world.web.at_rest():
            return
    raise AssertionError(
        f"not quiet after {QUIET_ROUNDS_MAX} rounds: {transact(world.connection, outbox.backlog)}, {world.web.states()}"
    )


def _heard(world: World) -> bool:
    """The positions of both sides agree, so nothing is left to be discovered."""
    position = transact(world.connection, outbox.position)
    with world.engine.begin() as conn:
        row = conn.execute(sa.select(agent.c.epoch, agent.c.seq, agent.c.head)).one()
    return position is not None and (row.epoch, row.seq, row.head) == (position.epoch, position.seq, position.head)


def _nothing_invented(world: World) -> None:
    """Every count the server believes was true at the POS at some time."""
    with world.engine.begin() as conn:
        for row in conn.execute(sa.select(fact.c.code, fact.c.value).where(~fact.c.gone)):
            count = row.value.partition('"on_hand":"')[2].partition('"')[0]
            assert count in world.pos.ever[row.code], f"{row.code} was never {count}"


def _judge(world: World) -> None:
    with world.engine.begin() as conn:
        believed = {
            row.code: row.value.partition('"on_hand":"')[2].partition('"')[0]
            for row in conn.execute(sa.select(fact.c.code, fact.c.value).where(~fact.c.gone))
        }
        sold = {
            row.id: (row.code, str(row.quantity))
            for row in conn.execute(
                sa.select(ledger.c.id, ledger.c.code, ledger.c.quantity).where(ledger.c.kind == "sale_line")
            )
        }
        letters = conn.execute(sa.select(dead_letter.c.code, dead_letter.c.message)).all()
        status = conn.execute(sa.select(agent.c.status)).scalar_one()
    assert believed == {code: str(count) for code, count in world.pos.stock.items()}
    assert sold == world.pos.sales
    if world.sells:
        world.web.judge(doubts_allowed=world.plan.restores)
    assert not letters
    assert status == "active"
