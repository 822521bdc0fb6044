"""`python -m tests.installers`: a whole life of both packages in a booted Debian 12, and a try on Debian 13."""

import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.installers.debian13 import try_on_debian_13
from tests.installers.lifecycle import Life
from tests.installers.machine import CannotRun, Failed, Machine, debootstrap, look_around, mirror
from tests.installers.packages import build_all, version

_PACKAGES = "systemd,systemd-sysv,dbus,python3,ca-certificates"


def main() -> int:
    """Run everything; 0 all held or NOT RUN, 1 a step failed (also NOT RUN, where it is required)."""
    place = Path(tempfile.mkdtemp(prefix="tillbridge-installers-", dir="/var/tmp"))
    try:
        look_around()
        _run(place)
    except CannotRun as why:
        _say(f"NOT RUN: {why}")
        return 1 if os.environ.get("TILLBRIDGE_REQUIRE_INSTALLERS") else 0
    except Failed as error:
        _say(f"FAILED: {error}")
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return 0


def _run(place: Path) -> None:
    started, address = time.monotonic(), mirror()
    _say(f"test-installers: Debian 12 and 13 and six packages of {version()}, two at a time (a minute or two)")
    with ThreadPoolExecutor(3) as pool:
        packages = pool.submit(build_all, place / "build")
        twelve = pool.submit(debootstrap, place / "debian12", "bookworm", address, _PACKAGES)
        twelve.result()
        thirteen = pool.submit(try_on_debian_13, place / "debian13", address, packages)
        built = packages.result()
        _say(f"   {time.monotonic() - started:6.1f} s  ready")
        for target, one in built.items():
            if not one.same:
                raise Failed(f"Two builds of {target} differ.")
            _say(f"   {target}: two builds from two folders, time zones and umasks have identical bytes")
        _live(place, Life(Machine(place / "debian12"), built))
        _say(f"   {thirteen.result()}")
    _say(f"test-installers: all held, {time.monotonic() - started:.0f} s")


def _live(place: Path, life: Life) -> None:
    try:
        life.machine.boot()
        for name, step in life.steps():
            started = time.monotonic()
            try:
                step()
            except Failed as error:
                raise Failed(f"{name}\n{error}") from error
            _say(f"ok {time.monotonic() - started:6.1f} s  {name}")
        for fact in life.facts:
            _say(f"measured: {fact}")
    finally:
        life.machine.shut_down()


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
