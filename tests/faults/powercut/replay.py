"""Cuts the power at every boundary of a recording, starts anew on what is left, and counts the till's imports.

The states are made at the paths of the recording, one after the other: the agent notes the path of its spool.
"""

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import sqlalchemy as sa
from tests.faults.powercut.disk import Disk, Files
from tests.faults.powercut.recording import Deed, Recording, Snapshot, utc_now
from tests.integration.orders import Chain
from tests.integration.ordertill import ROUND, OrderTill, Pos

from tillbridge_agent.core.uplink import Wait
from tillbridge_protocol.orders import ACCEPTED, COUNTED, PUBLISHED, SOLD, TAKEN, UNCERTAIN
from tillbridge_server.core.settings import PlainRules, StorefrontConfig
from tillbridge_server.store.database import make_engine
from tillbridge_server.store.order_tables import web_order

#: After so many rounds of both programs everything that happens by itself has happened.
ROUNDS_MAX = 12
ROUNDS_AFTER = 2
MODELS = ("none", "all", "prefix", "subset")
RESTORED = "restored"
SUBSETS = 4
_RESTS = (PUBLISHED, TAKEN, ACCEPTED, SOLD, COUNTED, UNCERTAIN)


@dataclass(frozen=True)
class Cut:
    """One state after a power cut: the files, what head office knew, whether the till had taken the file before."""

    model: str
    boundary: int
    files: Files
    office: Snapshot
    taken: tuple[bytes, ...]
    hasty: bool


@dataclass
class Outcome:
    """What became of all cuts: by model how many states, and how many ended in doubt; what must not be."""

    states: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    boundaries: int = 0


class Office(Chain):
    """Head office as it was at a snapshot."""

    def __init__(self, engine: sa.Engine, content: bytes, recording: Recording) -> None:
        self.engine, self.key, self.now = engine, recording.key, utc_now()
        raw = engine.raw_connection()
        raw.driver_connection.deserialize(content)  # type: ignore[union-attr]
        raw.close()
        self.shop = StorefrontConfig("window", "Window", "shop_window", "CHF", activate="auto")
        self.rules = PlainRules(storefronts=(self.shop,))

    def state(self, order: str) -> str:
        """Where it stands, without everything else that is known of it."""
        return str(self.run(lambda conn: conn.scalar(sa.select(web_order.c.state).where(web_order.c.id == order))))


class CountingPos(Pos):
    """Imports whatever lies in its folder, whole or not, and keeps the bytes."""

    def __init__(self, folder: Path, before: tuple[bytes, ...]) -> None:
        super().__init__(folder)
        self.bodies = list(before)

    def take(self) -> list[str]:
        """Import every file."""
        for path in self.files():
            self.bodies.append(path.read_bytes())
            path.unlink()
        return []


def cuts(recording: Recording, models: tuple[str, ...], seed: int) -> Iterator[Cut]:
    """Every state of every boundary between two calls since the order came, in these models; equal ones once.

    At each boundary head office may know what it knew when the call had ended, or anything it heard until the
    next one ended: an answer that was on its way is lost with the power.
    """
    disk, seen = Disk(str(recording.folder), recording.folders), set[str]()
    deeds, taken = list(recording.deeds), list[bytes]()
    first = next(number for number, call in enumerate(recording.calls) if call.at >= recording.since)
    for call in recording.calls[:first]:
        disk.play(call)
    old, mailed = disk.synced(), _first_with_order(recording)
    ends = [call.at for call in recording.calls[1:]] + [float("inf")]
    for number, call in enumerate(recording.calls[first:], first):
        while deeds and deeds[0].at < call.at:
            _do(disk, deeds.pop(0), taken)
        disk.play(call)
        if not disk.changed and number != first:
            continue
        for model, files in _left(disk, models, old, Random(f"{seed}/{number}")):
            for office in [mailed] if model == RESTORED else _known(recording, call.at, ends[number]):
                for cut in _moments(disk, recording, Cut(model, number, files, office, tuple(taken), hasty=False)):
                    digest = _digest(cut)
                    if digest not in seen:
                        seen.add(digest)
                        yield cut


def replay(recording: Recording, models: tuple[str, ...], seed: int, *, first_only: bool = False) -> Outcome:
    """Start anew after every cut; `first_only` ends with the first one that went wrong."""
    outcome, boundaries = Outcome(), set[int]()
    engine = make_engine("sqlite://")  # one for all, because it remembers how statements are written
    for cut in cuts(recording, models, seed):
        boundaries.add(cut.boundary)
        outcome.states[cut.model] += 1
        state, bodies = asyncio.run(_recover(engine, recording, cut))
        words = judged(state, bodies, recording.body)
        if state == UNCERTAIN and not words:
            outcome.doubts[cut.model] += 1
        if words:
            call = recording.calls[cut.boundary]
            outcome.wrong.append(
                f"{cut.model} after call {cut.boundary} ({call.name} {_named(call.args)}), the till "
                f"{'hasty' if cut.hasty else 'slow'}: {words}"
            )
            if first_only:
                break
    engine.dispose()
    outcome.boundaries = len(boundaries)
    return outcome


def judged(state: str, bodies: list[bytes], right: bytes) -> str:
    """What is wrong with this end of an order; empty when nothing is."""
    odd = [body for body in bodies if body != right]
    if odd:
        return f"the till imported {odd[0][:60]!r} of {len(right)} bytes; {state}"
    if len(bodies) > 1:
        return f"imported {len(bodies)} times; {state}"
    if not bodies and state != UNCERTAIN:
        return f"lost: never imported, and head office says {state}"
    return ""


async def _recover(engine: sa.Engine, recording: Recording, cut: Cut) -> tuple[str, list[bytes]]:
    """A new life on what is left, until nothing happens any more; the state at head office and what was imported."""
    _lay_out(recording, cut.files)
    office = Office(engine, cut.office.content, recording)
    pos = CountingPos(recording.folder / "pos", cut.taken)
    till = OrderTill(recording.folder, office, pos)
    try:
        for _ in range(ROUNDS_MAX):
            await _round(till)
            if office.state(recording.order) in _RESTS:
                break
        pos.take()
        for _ in range(ROUNDS_AFTER):
            await _round(till)
            pos.take()
        state = office.state(recording.order)
        if state == UNCERTAIN:
            (told,) = [one for one in office.listed() if one["id"] == recording.order]
            assert told["overdue"], "nobody is told of an order in doubt"
        return state, pos.bodies
    finally:
        till.end()


async def _round(till: OrderTill) -> None:
    """Each loop of the agent once; it has nothing to say but what waits."""
    till.at_s += 1.0
    till.chain.now += ROUND
    while not isinstance(await till.lane.step(), Wait):
        pass
    await till.mail.step()
    await till.desk.step()


def _left(disk: Disk, models: tuple[str, ...], old: Files, rng: Random) -> Iterator[tuple[str, Files]]:
    if "none" in models:
        yield "none", disk.synced()
    if "all" in models:
        yield "all", disk.everything()
    if "prefix" in models and (torn := disk.torn(rng)) is not None:
        yield "prefix", torn
    if "subset" in models:
        for _ in range(SUBSETS):
            yield "subset", disk.some(rng)
    if RESTORED in models:
        # The agent's disk and head office were put back from before the order; the till's folders were not.
        mine = {path: content for path, content in disk.everything().items() if "/pos/" in path}
        yield RESTORED, {path: content for path, content in old.items() if "/pos/" not in path} | mine


def _moments(disk: Disk, recording: Recording, cut: Cut) -> Iterator[Cut]:
    """The till comes after the cut, or took what it saw just before it."""
    yield cut
    seen = {path: content for path, content in disk.everything().items() if _is_import(recording, path)}
    if not seen:
        return
    # What it took it took durably, and with it everything that had happened in its folder: the rename before.
    spool = str(recording.folder / "pos" / "import" / ".tillbridge")
    gone = set(seen) | {path for path in cut.files if path.startswith(spool) and path.endswith(".tmp")}
    files = {path: content for path, content in cut.files.items() if path not in gone}
    yield Cut(cut.model, cut.boundary, files, cut.office, (*cut.taken, *seen.values()), hasty=True)


def _known(recording: Recording, since: float, until: float) -> list[Snapshot]:
    """What head office may have known at a boundary, from when the order lay in the mailbox."""
    mailed = _first_with_order(recording).at
    before = [one for one in recording.snapshots if one.at <= since]
    return [one for one in before[-1:] + [one for one in recording.snapshots if since < one.at <= until]
            if one.at >= mailed]


def _first_with_order(recording: Recording) -> Snapshot:
    """Head office when the order had been mailed, and the agent had not answered: the last before its next batch."""
    mailed = [one for one in recording.snapshots if recording.order.encode() in one.content]
    return mailed[1]


def _do(disk: Disk, deed: Deed, taken: list[bytes]) -> None:
    if deed.content is None:
        taken.append(disk.everything()[deed.path])
        disk.take(deed.path)
    else:
        disk.put(deed.path, deed.content)


def _is_import(recording: Recording, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == str(recording.folder / "pos" / "import") and name != ""


def _lay_out(recording: Recording, files: Files) -> None:
    """Exactly these files in the folders of agent and till."""
    for name in ("state", "pos"):
        shutil.rmtree(recording.folder / name, ignore_errors=True)
    for path in sorted(files):
        if path.endswith("/"):
            Path(path).mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        if not path.endswith("/"):
            Path(path).write_bytes(content)


def _digest(cut: Cut) -> str:
    made = hashlib.sha256(f"{cut.office.at} {cut.taken} {cut.hasty}".encode())
    for path, content in sorted(cut.files.items()):
        made.update(f"{path} {len(content)}\n".encode() + content)
    return made.hexdigest()


def _named(args: tuple[bytes | str, ...]) -> str:
    told = [
        one if isinstance(one, str) else Path(one.decode()).name if one.startswith(b"/") else f"{len(one)} bytes"
        for one in args
    ]
    return ", ".join(told)
