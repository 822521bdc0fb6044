"""The power is cut at every boundary between the system calls of a placement; the till imports the order once.

A real agent runs under strace while it places an order and takes the till's answer: its database, its spool, its
marks, the import folder. For each boundary the disk is what would be left of it, in four models:

* `none`: only what was fsynced, names only where their folder was;
* `all`: everything that was written;
* `prefix`: everything, but of the last write only its beginning;
* `subset`: what was fsynced, and of the rest some sectors and some names.

The till imports either what it sees just before the cut or what lies there afterwards; what it took it took durably.
The agent's own lanes, loop and database start on what is left, head office is what it was at that moment. In none
of these models may an order be in doubt: what the placement needs to know is durable before it goes on.

* `restored`: the disk of the agent *and* head office's database are put back from before the order, the till's
  folders are not. Nobody's numbers contradict anybody's, and only the mark in the spool folder says that the order
  was placed. Here an order may be in doubt, and head office says so; it is never imported twice.

Each mistake of mutants.py, made in the recorded agent, after the cut, or by leaving fsyncs out of the recording,
must be found: an order imported twice, torn, or lost.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.powercut.disk import Disk
from tests.faults.powercut.mutants import AFTERWARDS, LEFT_OUT, NONE, OTHERWISE, mutated, without_fsync
from tests.faults.powercut.recording import Recording, record
from tests.faults.powercut.replay import MODELS, RESTORED, Outcome, replay

pytestmark = pytest.mark.slow
#: A folder in memory, where there is one: nothing of this needs a disk, and there are thousands of states.
_MEMORY = "/dev/shm"
_SEED = int(os.environ.get("TILLBRIDGE_FAULT_BASE", "1"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, as fast as there is one; NOT RUN where nothing can be recorded."""
    why = _hinders()
    if why:
        pytest.skip(f"NOT RUN: {why}")
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as made:
        yield Path(made)


def _hinders() -> str:
    """Why strace cannot record here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (Debian: apt-get install strace)"
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False,
    )
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[:200]}"


def _recorded(folder: Path, mutant: str = NONE) -> Recording:
    made = asyncio.run(record(folder, mutant))
    _check_whole(made)
    return made


def _check_whole(recording: Recording) -> None:
    """The recording, played to its end, is byte by byte what the agent left behind: no call was missed."""
    disk, deeds = Disk(str(recording.folder), recording.folders), list(recording.deeds)
    for call in recording.calls:
        while deeds and deeds[0].at < call.at:
            deed = deeds.pop(0)
            if deed.content is None:
                disk.take(deed.path)
            else:
                disk.put(deed.path, deed.content)
        disk.play(call)
    played = {path: content for path, content in disk.everything().items() if not path.endswith("/")}
    real = {
        str(path): path.read_bytes()
        for part in ("state", "pos/import", "pos/answers") for path in (recording.folder / part).rglob("*")
        if path.is_file() and path.name != "identity.json"
    }
    assert played == real


def _told(what: str, outcome: Outcome, took_s: float) -> None:
    states = ", ".join(f"{model} {n} ({outcome.doubts[model]} in doubt)" for model, n in outcome.states.items())
    print(f"\npowercut: {what}: {outcome.boundaries} boundaries in {took_s:.0f} s; states: {states}; "
          f"wrong: {len(outcome.wrong)}")


def test_every_boundary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly one import after every cut in every model; in doubt only where the evidence was put back as well."""
    recording, began = _recorded(folder), time.monotonic()
    outcome = replay(recording, (*MODELS, RESTORED), _SEED)
    capsys.readouterr()
    with capsys.disabled():
        _told("a placement and its answer", outcome, time.monotonic() - began)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert min(outcome.states[model] for model in (*MODELS, RESTORED)) > 0
    assert outcome.boundaries > len(MODELS) * 10, "a placement makes more calls than that"
    assert not {model: n for model, n in outcome.doubts.items() if model != RESTORED}
    assert outcome.doubts[RESTORED] > 0, "the mark was not needed?"


@pytest.mark.parametrize("mistake", [*LEFT_OUT, *OTHERWISE, *AFTERWARDS])
def test_the_replay_finds(folder: Path, capsys: pytest.CaptureFixture[str], mistake: str) -> None:
    """An agent with this mistake imports an order twice, torn, or not at all, and the replay says so."""
    recording, began = _recorded(folder, mistake if mistake in OTHERWISE else NONE), time.monotonic()
    if mistake in LEFT_OUT:
        calls = without_fsync(recording.calls, LEFT_OUT[mistake], recording.since)
        recording = replace(recording, calls=calls)
    with mutated(mistake):
        outcome = replay(recording, ("none", "all", RESTORED), _SEED, first_only=True)
    capsys.readouterr()
    with capsys.disabled():
        _told(f"mistake: {mistake}", outcome, time.monotonic() - began)
        print(f"powercut: found: {outcome.wrong[0][:300] if outcome.wrong else 'NOTHING'}")
    assert outcome.wrong, "this mistake is not found"
