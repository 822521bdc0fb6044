"""Databases put back, machines lost or copied, answers lost, around one web order, with real programs.

Whatever happens, at the end the till has imported the order once; or not at all, and somebody is told: then a person
looks at the till, says so, and it is imported once. Never twice. `-s` prints what the alarm was.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from tests.faults.lossy import LossyProxy
from tests.faults.restoring import Restoring
from tests.faults.store import Store, free_port

from tillbridge_protocol.changes import open_batch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A store that is set up and enrolled, and not running; and its port."""
    folder, port = tmp_path_factory.mktemp("template") / "store", free_port()
    folder.mkdir()
    store = Store(folder, port, Random(0))
    store.set_up()
    try:
        store.start_server()
        assert store.enroll(store.invite()) == 0, store.story.lines[-1]
        store.server.stop()
    finally:
        store.server.kill()
    return folder, port


@pytest.fixture
def play(template: tuple[Path, int], tmp_path: Path) -> Iterator[Restoring]:
    """A store of its own, which has sold nothing yet."""
    folder, port = template
    shutil.copytree(folder, tmp_path / "store")
    restoring = Restoring(Store(tmp_path / "store", port, Random(7)))
    try:
        yield restoring
    except BaseException:
        restoring.close()
        raise
    restoring.close()


def judge(play: Restoring, name: str) -> str:
    """The end of every case, with its story when it is wrong; prints what came of it."""
    try:
        alarm = play.come_to_rest()
        imports, state = play.imports(), play.state()
        if alarm and not alarm.startswith("hold clone"):
            play.decide()
    except BaseException:
        print("\n".join([*play.store.story.lines, *play.store.agent.last_lines(), *play.store.server.last_lines()]))
        raise
    print(f"\nrestores: {name}: imported {imports}, {state}; alarm: {alarm or 'none, none needed'}")
    return alarm


def waits(play: Restoring) -> None:
    """The order is at the agent, and the import folder is away."""
    play.hide_folder()
    play.buy()
    play.reach("received")


def lies(play: Restoring) -> None:
    """Its file lies in the import folder."""
    play.buy()
    play.reach("published")


def is_sold(play: Restoring) -> None:
    """It was imported, answered and sold."""
    play.buy()
    play.sell_at_till()


MOMENTS = pytest.mark.parametrize("moment", [waits, lies, is_sold])
Moment = Callable[[Restoring], None]


@MOMENTS
def test_the_agent_is_put_back_from_before_the_order(play: Restoring, moment: Moment) -> None:
    """Its backup knows nothing of the order."""
    play.open()
    kept = play.copy_agent()
    play.store.agent.start()
    moment(play)
    play.put_agent_back(kept)
    judge(play, f"agent put back from before the order, which {moment.__name__}")


@MOMENTS
def test_the_agent_is_put_back_from_when_the_order_waited(play: Restoring, moment: Moment) -> None:
    """Its backup has the order as received, and acked; by now it may be anywhere."""
    play.open()
    waits(play)
    kept = play.copy_agent()
    play.store.agent.start()
    if moment is not waits:
        play.show_folder()
        play.reach("published")
    if moment is is_sold:
        play.sell_at_till()
    play.put_agent_back(kept)
    judge(play, f"agent put back from when the order waited, which {moment.__name__}")


@MOMENTS
def test_the_agent_s_database_is_lost(play: Restoring, moment: Moment) -> None:
    """It starts with nothing but its identity."""
    play.open()
    moment(play)
    play.lose_agent_database()
    judge(play, f"agent database lost when the order {moment.__name__}")


@MOMENTS
def test_the_agent_is_lost_whole(play: Restoring, moment: Moment) -> None:
    """Its machine is replaced by a new one, which is enrolled anew."""
    play.open()
    moment(play)
    play.lose_agent()
    judge(play, f"agent lost whole when the order {moment.__name__}")


@pytest.mark.parametrize("backs_up", [True, False], ids=["with [backup]", "without [backup]"])
@pytest.mark.parametrize("taken_in", [False, True], ids=["before intake", "after intake"])
@MOMENTS
def test_the_server_is_put_back(play: Restoring, moment: Moment, taken_in: bool, backs_up: bool) -> None:
    """Its database is one from before the order was bought, or from when the agent had it and it waited."""
    if not backs_up:
        play.without_backup()
    play.open()
    kept = None if taken_in else _kept(play, backs_up)
    if taken_in:
        waits(play)
        kept = _kept(play, backs_up)
        if moment is not waits:
            play.show_folder()
            play.reach("published")
        if moment is is_sold:
            play.sell_at_till()
    else:
        moment(play)
    assert kept is not None
    play.put_server_back(kept)
    name = f"{'after' if taken_in else 'before'} intake, {'with' if backs_up else 'without'} [backup]"
    judge(play, f"server put back from {name}, when the order {moment.__name__}")


def _kept(play: Restoring, backs_up: bool) -> Path:
    """A verified backup, of which agents hear; or a copy somebody made."""
    if not backs_up:
        return play.copy_server()
    made = play.store.back_up()
    assert made is not None
    return made


def before(play: Restoring) -> None:
    """Nobody has bought yet."""


@pytest.mark.parametrize("moment", [before, waits, lies, is_sold])
def test_a_copy_starts(play: Restoring, moment: Moment) -> None:
    """Two machines with one identity, which speak as seldom as agents do: both are frozen, with an alarm."""
    play.open()
    moment(play)
    play.copy_machine(heartbeat_s=10.0)
    if moment is before:
        play.buy()
    play.show_folder()
    play.until_frozen()
    assert "clone" in judge(play, f"agent copied when the order {moment.__name__}")


@pytest.mark.parametrize("moment", [before, waits])
def test_a_copy_starts_and_both_talk_all_the_time(play: Restoring, moment: Moment) -> None:
    """They send each other into new epochs, again and again, frozen or not: what the order meets is a mark."""
    play.open()
    moment(play)
    play.copy_machine(heartbeat_s=1.0)
    if moment is before:
        play.buy()
    play.show_folder()
    judge(play, f"agent copied when the order {moment.__name__}, and both talk all the time")


@pytest.mark.parametrize("dies", [False, True], ids=["the agent lives", "the agent is killed"])
def test_the_ack_of_received_is_lost(play: Restoring, dies: bool) -> None:
    """Head office knows that the agent has the order, the agent does not know that it knows."""
    inner = play.behind_proxy()
    proxy = LossyProxy(play.store.port, inner, lambda path, body: proxy.lost < 2 and _tells_received(path, body))
    try:
        play.open()
        play.buy()
        play.reach("received", "ready", "published")
        assert proxy.lost > 0
        if dies:
            play.store.agent.kill()
            play.store.agent.start()
        assert judge(play, "ack of `received` lost" + (", and the agent killed" if dies else "")) == ""
        assert proxy.lost == 2
    finally:
        proxy.close()


def _tells_received(path: str, body: bytes) -> bool:
    return path == "/v1/batches" and any(b'"state":"received"' in bytes(raw) for raw in open_batch(body).changes)
