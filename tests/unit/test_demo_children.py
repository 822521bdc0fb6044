"""The demo's processes are always reaped, and two demos never work on one state folder."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.demo import lock
from tests.demo.children import Child

TRAP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def until_it_says(child: Child, words: str) -> None:
    """Waits for a line in the child's log."""
    while words not in "\n".join(child.last_lines()):
        assert child.exit_code() is None
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether this process runs no more; where nobody reaps orphans it may stay as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_child_ends_when_asked_and_its_log_is_kept(tmp_path: Path) -> None:
    """Both outputs are in the log, begun anew; the exit code is told."""
    log = tmp_path / "logs" / "child.log"
    log.parent.mkdir()
    log.write_text("of the last run")
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    child = Child("child", [sys.executable, "-c", code], log)
    assert child.wait(30) == 3
    assert sorted(child.last_lines()) == ["err", "out"]
    assert child.stop() == 3


def test_a_child_that_does_not_obey_is_killed_and_reaped(tmp_path: Path) -> None:
    """It says so by its exit code."""
    child = Child("child", [sys.executable, "-c", TRAP], tmp_path / "log")
    until_it_says(child, "up")
    assert child.wait(0.01) is None
    assert child.stop(wait_s=0.1) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="NOT RUN: only Linux tells a child that its parent died")
def test_children_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    """A demo killed without a chance to clean up leaves nothing behind."""
    log = tmp_path / "grandchild.log"
    sleeper = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
    demo = (
        "import sys, time; from pathlib import Path; from tests.demo.children import Child; "
        f"Child('c', [sys.executable, '-c', {sleeper!r}], Path({str(log)!r})); time.sleep(60)"
    )
    parent = Child("demo", [sys.executable, "-c", demo], tmp_path / "demo.log")
    while not (log.exists() and log.read_text().startswith("pid")):
        assert parent.exit_code() is None, parent.last_lines()
        time.sleep(0.02)
    parent._process.kill()
    parent._process.wait()
    pid = int(log.read_text().split()[1])
    ends = time.monotonic() + 20
    while not gone(pid):
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="NOT RUN: there is no flock")
def test_a_second_demo_waits_and_then_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is held until the last child that inherited the lock is gone."""
    monkeypatch.setattr(lock, "WAIT_S", 0.3)
    with lock.state_lock(tmp_path) as held:
        assert held is not None
        child = Child("child", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", (held,))
        with pytest.raises(lock.StateInUse, match="--state"), lock.state_lock(tmp_path):
            pytest.fail("held twice")
    with pytest.raises(lock.StateInUse), lock.state_lock(tmp_path):
        pytest.fail("the child still holds it")
    child.stop()
    with lock.state_lock(tmp_path):
        pass
