"""What goes into a package and what does not, on small trees; the long life of real ones is `make test-installers`."""

import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from installer import build, deb, wheels
from installer.wheels import BuildError
from tests.installers import page

AGENT = deb.PACKAGES["linux-agent"]
LINUX = Path(deb.__file__).parent / "linux"
SCRIPTS = [*sorted(LINUX.glob("common/*")), *sorted(LINUX.glob("*/command"))]


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A wheel with these files."""
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


@pytest.mark.parametrize("program", ["agent", "server"])
def test_the_lock_fits(program: str) -> None:
    """The wheels of the packages are those of constraints.txt, no more and no less, each with its hashes."""
    assert not wheels.stale_lock(program)
    text = (wheels.LOCKS / f"{program}.lock").read_text(encoding="utf-8")
    assert text.count("==") == len(wheels.locked(program)) > 20
    for lines in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in lines, lines


def test_a_till_needs_nothing_of_the_server() -> None:
    """Its lock names no library that only the server uses."""
    only_the_server = {"sqlalchemy", "alembic", "jinja2", "argon2-cffi", "psycopg", "prometheus-client"}
    assert not only_the_server & set(wheels.locked("agent"))


@pytest.mark.parametrize(("name", "wanted"), [
    ("aiohttp/client.py", True), ("aiohttp/_http_parser.cpython-312-x86_64-linux-gnu.so", True),
    ("tzdata/zoneinfo/Europe/Zurich", True), ("click-8.dist-info/METADATA", True), ("x-1.dist-info/LICENSE", True),
    ("tillbridge_agent/store/queries.sql", True), ("tillbridge_protocol/vectors/order.json", True),
    ("aiohttp/_http_parser.pyx", False), ("multidict/_multilib/pythoncapi_compat.h", False), ("click/core.pyc", False),
    ("cffi/tests/test_a.py", False), ("alembic/testing/env.py", False), ("serial/test_port.py", False),
    ("x/__init__.pyi", False), ("click-8.dist-info/RECORD", False),
])
def test_what_of_a_wheel_is_packed(name: str, wanted: bool) -> None:
    """What runs, and what licences ask for; no sources of extensions, no stubs, no tests, no bytecode."""
    assert wheels.wanted_in_tree(name) is wanted


@pytest.mark.parametrize("name", ["../evil.py", "/etc/passwd", "x-1.data/scripts/run"])
def test_a_wheel_cannot_reach_out(tmp_path: Path, name: str) -> None:
    """A name that leads out of the tree, or needs an installer, ends the build."""
    with pytest.raises(BuildError, match="no place"):
        wheels.unpack([wheel(tmp_path, "x", {name: "1"})], tmp_path / "tree")
    assert not (tmp_path / "evil.py").exists()


def test_two_wheels_must_agree(tmp_path: Path) -> None:
    """The same file twice is one file, another content is an error; what wheels say about themselves may differ."""
    one = wheel(tmp_path, "one", {"a/b.py": "1", "a-1.dist-info/sboms/x.json": "1"})
    same = wheel(tmp_path, "same", {"a/b.py": "1", "a-1.dist-info/sboms/x.json": "2"})
    other = wheel(tmp_path, "other", {"a/b.py": "2"})
    wheels.unpack([one, same], tmp_path / "tree")
    assert (tmp_path / "tree/a/b.py").read_text() == "1"
    with pytest.raises(BuildError, match=r"b\.py of other"):
        wheels.unpack([other], tmp_path / "tree")


def test_a_python_without_its_extension_is_found(tmp_path: Path) -> None:
    """Extension modules must be there for every Python the package is for; those for all of them need no other."""
    for version in wheels.PYTHONS:
        (tmp_path / f"fast.cpython-{version.replace('.', '')}-x86_64-linux-gnu.so").touch()
    (tmp_path / "one.abi3.so").touch()
    assert not wheels.extensions_missing(tmp_path)
    (tmp_path / "fast.cpython-312-x86_64-linux-gnu.so").unlink()
    assert wheels.extensions_missing(tmp_path) == ["fast (cpython-312-x86_64-linux-gnu)"]


def test_control() -> None:
    """Only Pythons whose extension modules are in the package, and what the scripts call."""
    text = deb.control(AGENT, "1.2.0", 4711)
    assert text.startswith("Package: tillbridge-agent\nVersion: 1.2.0\nArchitecture: amd64\n")
    assert "\nInstalled-Size: 4711\n" in text
    assert "\nDepends: python3 (>= 3.11), python3 (<< 3.14), ca-certificates, systemd\n" in text
    assert text.endswith("\n")
    assert not [line for line in text.splitlines() if not line.strip()]


@pytest.mark.parametrize("version", ["", "v1", "1:2.0", "1.0-1", "1 0", "latest"])
def test_a_wrong_version_is_refused(version: str) -> None:
    """What Debian would compare otherwise than meant."""
    with pytest.raises(BuildError, match="is no version"):
        deb.control(AGENT, version, 1)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="NOT RUN: there is no dpkg-deb here")
@pytest.mark.parametrize("target", list(deb.PACKAGES))
def test_the_same_bytes(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the folder nor the umask nor the times of files matter; the layout is as the page says."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    package, digests = deb.PACKAGES[target], []
    for place, umask, moment in (("a", 0o022, 1), ("b/c", 0o077, 2_000_000_000)):
        before = os.umask(umask)
        try:
            tree = tmp_path / place / "tree"
            wheels.unpack([wheel(tmp_path, "x", {"x/b.py": "1", "x/a.py": "2"})], tree)
            os.utime(tree / "x/b.py", (moment, moment))
            file = build.assemble(package, "1.2.0", tree, tmp_path / place, tmp_path / place, fast=True)
        finally:
            os.umask(before)
        digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    listed = subprocess.run(["dpkg-deb", "-c", str(file)], capture_output=True, text=True, check=True).stdout
    modes = {line.split()[-1].removeprefix("."): line.split()[:2] for line in listed.splitlines()}
    assert modes[f"/usr/bin/{package.name}"] == ["-rwxr-xr-x", "root/root"]
    assert modes[f"/usr/lib/{package.name}/x/a.py"] == ["-rw-r--r--", "root/root"]
    assert modes[f"/etc/{package.name}/"] == ["drwxr-x---", "root/root"]
    assert modes.get("/etc/tillbridge-agent/agent.toml", ["-rw-r-----"])[0] == "-rw-r-----"
    assert f"/usr/lib/systemd/system/{package.name}.service" in modes
    assert {modes[path][0] for path in modes if path.endswith("/") and path.startswith("/usr")} == {"drwxr-xr-x"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: f"{one.parent.name}-{one.name}")
def test_scripts_are_sh(script: Path) -> None:
    """Every script parses, and stops at the first error."""
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n# ")
    assert re.search(r"^set -eu?$", text, re.MULTILINE)
    if shutil.which("sh") is not None:
        assert subprocess.run(["sh", "-n", str(script)], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("program", ["agent", "server"])
def test_units_are_hardened(program: str) -> None:
    """What a unit must not lose; the exposure itself is measured where systemd runs."""
    unit = (LINUX / program / "unit.service").read_text(encoding="utf-8").splitlines()
    for line in (
        "Type=notify", "Restart=always", "RestartSec=5", "StartLimitIntervalSec=0", f"User=tillbridge-{program}",
        "UMask=0077", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
        "MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service",
        f"StateDirectory=tillbridge-{program}", "WantedBy=multi-user.target",
    ):
        assert line in unit
    assert any(line.startswith("WatchdogSec=") for line in unit)
    assert any(line.startswith("ConditionPathExists=") for line in unit)


def test_the_page_has_what_the_long_test_types() -> None:
    """The commands and the drop-in that the page tells are there, once each."""
    assert "usermod -aG pos tillbridge-agent" in page.block("sh", "usermod")
    assert page.block("ini", "ReadWritePaths").startswith("[Service]\n")
