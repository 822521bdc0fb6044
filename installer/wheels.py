"""Wheels: which ones a program needs (locks), fetching them by pip, and unpacking them into one tree.

The tree serves every Python of PYTHONS at once: extension modules carry the Python they are for in their names, so
the wheels of all of them lie in one folder without meeting. Wheels are unpacked, not installed: no scripts, no
bytecode, nothing that depends on the machine or the hour.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCKS = Path(__file__).resolve().parent / "locks"
#: The versions of CPython one package serves: Debian 12, Ubuntu 24.04, Debian 13.
PYTHONS = ("3.11", "3.12", "3.13")
#: Systems with this libc or a newer one; each older name is one pip does not derive from the newest.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
#: Never needed on a till: sources and stubs of compiled modules, and the libraries' own tests.
_DROPPED = re.compile(
    r"(\.(pyc|pyi|pyx|pxd|pxi|c|h|hash)$)|(^|/)(tests|testing)/|(^|/)test_[^/]*\.py$|\.dist-info/(RECORD|WHEEL|INSTALLER)$"
)
#: Required by a library for something we never call: `sqlite-utils install`.
_NOT_USED = {"pip"}
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


class BuildError(Exception):
    """A package cannot be built; the message says what to do."""


def locked(program: str) -> dict[str, str]:
    """{name: version} of the lock of `agent` or `server`."""
    text = (LOCKS / f"{program}.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE))


def needed(program: str) -> dict[str, str]:
    """{name: version} of everything `agent` or `server` imports at run time on Linux, from constraints.txt.

    The requirements are those of the distributions in the environment this runs in. Raises BuildError when one is
    neither installed nor pinned.
    """
    pins = {_plain(name): version for name, version in _pairs((ROOT / "constraints.txt").read_text(encoding="utf-8"))}
    waiting: list[tuple[str, frozenset[str]]] = [(f"tillbridge-{program}", frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    found: dict[str, str] = {}
    while waiting:
        if (distribution := waiting.pop()) in seen:
            continue
        seen.add(distribution)
        name = distribution[0]
        if not name.startswith("tillbridge-"):
            if name not in pins:
                raise BuildError(f"{name} is needed and not in constraints.txt. Add name==version there.")
            found[name] = pins[name]
        waiting += _requirements(*distribution)
    return dict(sorted(found.items()))


def write_lock(program: str, cache: Path) -> Path:
    """Write the lock of a program: every pinned wheel for every Python, with the hashes of the files."""
    pins, cache = needed(program), cache / f"lock-{program}"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    wanted = cache / "wanted.txt"
    wanted.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8")
    wheels = list(_download(wanted, cache, ()))
    lines = [f"# What {program} needs beside itself; made by `make locks`, never by hand."]
    for name, version in pins.items():
        hashes = sorted({hashlib.sha256(file.read_bytes()).hexdigest() for file in wheels if _name_of(file) == name})
        lines.append(" \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{digest}" for digest in hashes)]))
    path = LOCKS / f"{program}.lock"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fetch(program: str) -> list[Path]:
    """The locked wheels of a program: downloaded once for each lock, compared with their hashes. Raises BuildError."""
    if stale := stale_lock(program):
        raise BuildError(stale)
    lock = LOCKS / f"{program}.lock"
    folder = ROOT / ".build" / "wheels" / f"{program}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        fetching = folder.with_suffix(f".{os.getpid()}")
        fetching.mkdir(parents=True)
        _download(lock, fetching, ("--require-hashes",))
        fetching.rename(folder)
    wheels = sorted(folder.glob("*.whl"))
    known = set(re.findall("sha256:([0-9a-f]{64})", lock.read_text(encoding="utf-8")))
    if {hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels} != known:
        raise BuildError(f"{folder} does not hold what the lock names. Delete that folder and build again.")
    return wheels


def stale_lock(program: str) -> str:
    """What is wrong with the lock of a program, or nothing."""
    want, have = needed(program), locked(program)
    if want == have:
        return ""
    differ = sorted(set(want.items()) ^ set(have.items()))
    names = ", ".join(sorted({name for name, _ in differ}))
    return f"installer/locks/{program}.lock does not fit constraints.txt and the pyproject files ({names}): make locks"


def build_ours(program: str, version: str, cache: Path) -> list[Path]:
    """The wheels of the protocol and of `agent` or `server`, as this version."""
    sources, folder = cache / f"sources-{program}", cache / f"ours-{program}"
    for old in (sources, folder):
        shutil.rmtree(old, ignore_errors=True)
    for room in ("protocol", program):
        shutil.copytree(ROOT / room, sources / room, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.pyc"))
        text = (sources / room / "pyproject.toml").read_text(encoding="utf-8")
        text = re.sub(r'^version = "[^"]+"', f'version = "{version}"', text, count=1, flags=re.MULTILINE)
        text = re.sub(r'"tillbridge-protocol==[^"]+"', f'"tillbridge-protocol=={version}"', text)
        (sources / room / "pyproject.toml").write_text(text, encoding="utf-8")
    rooms = [str(sources / room) for room in ("protocol", program)]
    _run(*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), *rooms)
    return sorted(folder.glob("*.whl"))


def unpack(wheels: Iterable[Path], tree: Path) -> None:
    """Unpack wheels into one folder. Raises BuildError when two bring different files of one name."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                if not entry.is_dir() and wanted_in_tree(entry.filename):
                    _place(archive.read(entry), tree / entry.filename, wheel)


def wanted_in_tree(name: str) -> bool:
    """Whether a file of a wheel belongs on a machine. Raises BuildError for what unpacking cannot serve."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/") or parts[0].endswith(".data"):
        raise BuildError(f"A wheel holds {name}, which has no place in a tree of packages.")
    return not _DROPPED.search(name)


def extensions_missing(tree: Path) -> list[str]:
    """Extension modules that are there for one Python of PYTHONS but not for another."""
    wanted = {f"cpython-{version.replace('.', '')}-x86_64-linux-gnu" for version in PYTHONS}
    found: dict[str, set[str]] = {}
    for path in tree.rglob("*.so"):
        stem, _, tag = path.name.removesuffix(".so").partition(".")
        if tag.startswith("cpython-"):
            found.setdefault(str(path.relative_to(tree).with_name(stem)), set()).add(tag)
    return [f"{name} ({tag})" for name, tags in sorted(found.items()) for tag in sorted(wanted - tags)]


def _requirements(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a distribution with these extras requires on Linux under any of PYTHONS, each with its extras."""
    for requirement in map(Requirement, _required(name)):
        marker = requirement.marker
        systems = [_system(python, extra) for python in PYTHONS for extra in ("", *extras)]
        if requirement.name not in _NOT_USED and (marker is None or any(marker.evaluate(system) for system in systems)):
            yield _plain(requirement.name), frozenset(requirement.extras)


def _required(name: str) -> list[str]:
    if name.startswith("tillbridge-"):
        text = (ROOT / name.removeprefix("tillbridge-") / "pyproject.toml").read_text(encoding="utf-8")
        return list(tomllib.loads(text)["project"]["dependencies"])
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise BuildError(f"{name} is not installed here, so its requirements are unknown. Run `make setup`.") from error


def _system(python: str, extra: str) -> Mapping[str, str]:
    """The machine a package is for, as markers see it."""
    return {
        "python_version": python, "python_full_version": f"{python}.0", "os_name": "posix", "sys_platform": "linux",
        "platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": extra,
    }


def _download(requirements: Path, folder: Path, more: tuple[str, ...]) -> Iterable[Path]:
    for python in PYTHONS:
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        _run(
            *_PIP, "download", "--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
            *platforms, *more, "--dest", str(folder), "-r", str(requirements),
        )
    return folder.glob("*.whl")


def _place(content: bytes, target: Path, wheel: Path) -> None:
    if target.exists() and target.read_bytes() != content:
        if not any(part.endswith(".dist-info") for part in target.parts):
            raise BuildError(f"{target.name} of {wheel.name} differs from the one another wheel brought.")
        return  # metadata of one release, built thrice
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError(f"{' '.join(command[2:6])} … failed:\n{done.stdout}{done.stderr}")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, version = line.partition("==")
        yield name, version


def _plain(name: str) -> str:
    """A distribution's name as comparisons need it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _name_of(wheel: Path) -> str:
    return _plain(wheel.name.split("-")[0])
