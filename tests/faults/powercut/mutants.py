"""Mistakes a placement could make, to show that the replay finds them: each replaces one step of the real agent."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.powercut import disk
from tests.faults.powercut.trace import Call

from tillbridge_agent import placing
from tillbridge_agent.core import placement
from tillbridge_agent.core.placement import Do, Next, Own
from tillbridge_agent.imports import place
from tillbridge_agent.imports.place import DropFolder
from tillbridge_agent.sources.folder import fsync_folder
from tillbridge_agent.store import orders
from tillbridge_protocol.orders import PUBLISHED, READY

#: What is recorded of the real agent, with calls left out that a mistaken agent would not make.
LEFT_OUT = {
    "the spool file is not fsynced": (".tmp",),
    "no folder is fsynced": ("/import", "/.tillbridge"),
}
#: What the agent itself does otherwise, in the recording and after the cut.
OTHERWISE = (
    "orders are placed without a mark",
    "`ready` is committed after the rename",
    "the import file is written where the till sees it",
    "`published` is committed before the rename",
)
#: What it does otherwise after the cut only.
AFTERWARDS = ("`published` without looking",)
NONE = "none"

_Patch = tuple[Any, str, Any]


def mutate(name: str) -> None:
    """Make a mistake of OTHERWISE or AFTERWARDS in this process for good; "none" and the others make none."""
    for target, attribute, value in _PATCHES.get(name, []):
        setattr(target, attribute, value)


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """The same for a while."""
    before = [(target, attribute, getattr(target, attribute)) for target, attribute, _ in _PATCHES.get(name, [])]
    mutate(name)
    try:
        yield
    finally:
        for target, attribute, value in before:
            setattr(target, attribute, value)


def without_fsync(calls: Sequence[Call], endings: tuple[str, ...], since: float) -> list[Call]:
    """The recording without the fsyncs of files or folders whose path ends so, from this moment on."""
    paths: dict[str, str] = {}
    left = []
    for call in calls:
        if call.name == "openat" and isinstance(call.args[1], bytes):
            paths[str(call.result)] = call.args[1].decode(errors="replace")
        gone = call.name in ("fsync", "fdatasync") and paths.get(str(call.args[0]), "").endswith(endings)
        left.append(replace(call, name=disk.LEFT_OUT) if gone and call.at >= since else call)
    return left


# -- without a mark: placed as textbooks do it, by `ready` and the spool file alone ------------------------------------

def _no_mark(self: DropFolder, order: str, revision: int, **named: Any) -> None:
    """Nothing is made."""


def _mark_unseen(own: Own, mark: placement.Mark | None) -> str:
    if own.nonce is None:
        return "none"
    return "moving" if own.state == READY else "ours"


# -- ready after the rename --------------------------------------------------------------------------------------------

def _spool_and_rename(self: DropFolder, order: str, revision: int, body: bytes) -> str:
    path = self.spool / f"{order}~{revision}.tmp"
    place._write(path, body, 0o600)
    fsync_folder(self.spool)
    mark = self._read_mark(order, revision)
    assert mark is not None
    place.rename_new(path, self.folder / mark.file)
    self.sync()
    return hashlib.sha256(body).hexdigest()


def _renamed_already(own: Own, seen: placement.Evidence) -> Next:
    return Next(Do.PUBLISH) if own.state == READY else _REAL_STEP(own, seen)


def _write_in_place(self: DropFolder, order: str, revision: int, body: bytes) -> str:
    mark = self._read_mark(order, revision)
    assert mark is not None
    place._write(self.folder / mark.file, body, 0o600)
    self.sync()
    return hashlib.sha256(body).hexdigest()


# -- published before the rename ---------------------------------------------------------------------------------------

async def _move_late(self: placing.Placing, row: Any) -> bool:
    await self.store.run(orders.step, row["id"], row["revision"], PUBLISHED, self._now())
    await self._run(self.folder.move, row["id"], row["revision"], row["file"], row["file_sha256"])
    self.send()
    return True



_REAL_STEP = placement.next_step
_PATCHES: dict[str, list[_Patch]] = {
    "orders are placed without a mark": [
        (DropFolder, "mark", _no_mark), (placement, "_mark", _mark_unseen),
    ],
    "`ready` is committed after the rename": [
        (DropFolder, "write_spool", _spool_and_rename), (placing, "next_step", _renamed_already),
    ],
    "the import file is written where the till sees it": [
        (DropFolder, "write_spool", _write_in_place), (placing, "next_step", _renamed_already),
    ],
    "`published` is committed before the rename": [(placing.Placing, "_move", _move_late)],
    "`published` without looking": [(placing, "next_step", _renamed_already)],
}
