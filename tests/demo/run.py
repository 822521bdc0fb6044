"""The demo's command: arguments, Ctrl-C, and how it ends; exit 0 ok, 1 a minimum or a process failed, 2 usage."""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.demo.console import addresses, say, trouble
from tests.demo.lock import StateInUse, state_lock
from tests.demo.place import Place
from tests.demo.programs import CallError
from tests.demo.stage import Stage, Trouble
from tests.demo.tour import Tour

INTERRUPTED_EXIT = 130


class Interrupted(Exception):
    """Ctrl-C, or somebody asked the demo to end."""


def main(arguments: list[str]) -> int:
    """Runs the demo; returns the exit code."""
    chosen = _parse(arguments)
    place = Place(chosen.state.resolve())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with state_lock(place.root) as lock:
            return _run(Stage(place, chosen.seed, lock), chosen.seed, chosen.seconds)
    except (StateInUse, OSError) as error:
        trouble(str(error))
        return 2
    except Interrupted:
        return INTERRUPTED_EXIT


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, help="run unattended: measure for so long, then judge")
    parser.add_argument("--seed", type=int, default=1, help="decides the shop and what is sold (default 1)")
    parser.add_argument("--state", type=Path, default=Path(".demo"), help="where everything is kept (default .demo)")
    return parser.parse_args(arguments)


def _run(stage: Stage, seed: int, seconds: float | None) -> int:
    """One run on `stage`, which is always closed; the report is the last line said."""
    tour: Tour | None = None
    troubles: list[str] = []
    interrupted = False
    try:
        stage.open()
        tour = Tour(stage)
        _tell_addresses(stage, attended=seconds is None)
        stage.open_till()
        if seconds is None:
            tour.watch()
        else:
            tour.wait_for_first_publication()
            tour.measure(seed, seconds)
    except Interrupted:
        interrupted = True
        troubles.append("interrupted")
    except Trouble as error:
        troubles.append(error.name)
        trouble(str(error), error.child)
    except (CallError, OSError) as error:
        troubles.append("command")
        trouble(str(error))
    finally:
        _close(stage, troubles)
    if seconds is None:
        if interrupted and troubles == ["interrupted"]:
            say(f"demo: everything has ended; the state is kept in {stage.place.root}, the next run continues from it")
            return 0
        return 1
    report = (tour or Tour(stage)).report(seed, seconds, tuple(troubles))
    for name in report["failed"]:
        say(f"demo: not reached: {name}")
    say(json.dumps(report, separators=(",", ":")))
    if interrupted:
        return INTERRUPTED_EXIT
    return 0 if report["ok"] else 1


def _close(stage: Stage, troubles: list[str]) -> None:
    """Ends all processes in order; a second Ctrl-C does not leave any behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    say("demo: ending the till, the agent and the server")
    for words in stage.close():
        troubles.append("unclean end")
        trouble(words)


def _tell_addresses(stage: Stage, *, attended: bool) -> None:
    addresses([
        ("dashboard", stage.address + "/"),
        ("shop window", stage.address + "/shop"),
        ("agent status", stage.agent_address()),
        ("state and logs", str(stage.place.root)),
    ])
    if attended:
        say("demo: the till sells until you press Ctrl-C; one line per export follows")
        say("demo: press Buy in the shop window: the order's import file comes to")
        say(f"      {stage.place.imports}; the till takes it to done, answers, and sells it")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
