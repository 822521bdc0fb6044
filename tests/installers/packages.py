"""The packages under test: built twice from two copies of the sources, and once as a next version."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.installers.machine import Failed

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("protocol", "agent", "server", "installer", "constraints.txt", "CHANGELOG.md")
TARGETS = ("linux-agent", "linux-server")
#: The moment both builds are given, in seconds of the epoch: a commit in between must not make them differ.
_MOMENT = "1767225600"
#: What the next version's configuration file says more, so that the edited one is a conflict dpkg has to settle.
NEW_LINE = "# A line of the next version.\n"


@dataclass(frozen=True)
class Built:
    """The .deb files of one target: this version and the next one; `again` is this one from elsewhere."""

    now: Path
    again: Path
    next: Path
    shipped_bytes: int

    @property
    def same(self) -> bool:
        """Whether both builds of this version have the same bytes."""
        return len({hashlib.sha256(file.read_bytes()).hexdigest() for file in (self.now, self.again)}) == 1


def version() -> str:
    """The version in the sources."""
    text = (ROOT / "agent/pyproject.toml").read_text(encoding="utf-8")
    return next(line.split('"')[1] for line in text.splitlines() if line.startswith("version = "))


def build_all(place: Path) -> dict[str, Built]:
    """Build everything below an empty folder, two builds at a time. Raises Failed with what a build said."""
    first, second = place / "first", place / "a second checkout"
    for copy in (first, second):
        for name in _SOURCES:
            source, ignore = ROOT / name, shutil.ignore_patterns(".*", "__pycache__", "dist")
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, copy / name, ignore=ignore) if source.is_dir() else shutil.copy(source, copy / name)
    # Another folder, time zone, umask, language and file times must not change a byte.
    other = {"TZ": "Pacific/Auckland", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7"}
    with ThreadPoolExecutor(2) as pool:
        jobs = {target: pool.submit(_build_three, first, target) for target in TARGETS}
        again = {target: pool.submit(_build, second, target, version(), "--fast", umask=0o077, **other)
                 for target in TARGETS}
        return {
            target: Built(now, again[target].result(), following, shipped_bytes)
            for target, (now, following, shipped_bytes) in ((target, jobs[target].result()) for target in TARGETS)
        }


def _build_three(copy: Path, target: str) -> tuple[Path, Path, int]:
    """This version, the next one with another configuration file, and the size of this one as it is shipped."""
    now = _build(copy, target, version(), "--fast")
    shipped = _build(copy, target, version(), out="shipped")
    if target == "linux-agent":
        with (copy / "installer/linux/agent/agent.toml").open("a", encoding="utf-8") as config:
            config.write(NEW_LINE)
    return now, _build(copy, target, f"{version()}+next", "--fast"), shipped.stat().st_size


def _build(
    copy: Path, target: str, wanted: str, *options: str, umask: int = 0o022, out: str = "out", **environment: str,
) -> Path:
    folder = copy / out
    done = subprocess.run(
        [sys.executable, str(copy / "installer/build.py"), target, "--version", wanted, "--out", str(folder), *options],
        env={**os.environ, "SOURCE_DATE_EPOCH": _MOMENT, **environment}, umask=umask, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        raise Failed(f"{target} {wanted} could not be built:\n{done.stdout}{done.stderr}")
    return next(folder.glob(f"tillbridge-{target.removeprefix('linux-')}_{wanted}_*.deb"))
