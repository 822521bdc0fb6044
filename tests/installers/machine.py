"""A Debian in a folder: made by debootstrap, booted by systemd-nspawn without a network, entered by nsenter."""

import contextlib
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

#: Everything is waited for at most so long, in seconds; nothing here judges how long something took.
PATIENCE_S = 180
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter", "unshare", "dpkg-deb", "apt-get")
_CLEAN = (
    "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
)


class Failed(Exception):
    """A step of the test failed; the message is everything that is known."""


class CannotRun(Exception):
    """This machine cannot run the test; the message says why."""


def look_around() -> None:
    """Raises CannotRun with the first thing that is missing here."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotRun("the packages are for 64-bit PCs with Linux, and this machine is another one")
    if os.geteuid() != 0:
        raise CannotRun("booting a container needs root: sudo make test-installers")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise CannotRun(f"{', '.join(missing)} missing: apt-get install debootstrap systemd-container dbus")
    if _run(["unshare", "--mount", "--pid", "--net", "--fork", "true"]).returncode:
        raise CannotRun("this machine does not let root make namespaces (a container inside a container)")


def mirror(release: str = "bookworm") -> str:
    """Address of the Debian archive in this machine's own apt configuration. Raises CannotRun."""
    told = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"])
    known = [line.split() for line in told.stdout.splitlines() if line.endswith(" main") and line.count(" ") == 2]
    for address, name, _ in sorted(known, key=lambda one: one[1] != release):
        if name == release or address.rstrip("/").endswith("/debian"):
            return address
    raise CannotRun("the apt sources of this machine name no archive of Debian")


def debootstrap(folder: Path, release: str, address: str, packages: str) -> None:
    """Make a minimal Debian. Raises CannotRun when the archive is not reachable."""
    environment = dict(os.environ)
    for scheme in ("http", "https"):
        proxy = _run(["apt-config", "shell", "P", f"Acquire::{scheme}::Proxy"]).stdout.strip()
        if proxy.startswith("P="):
            environment.setdefault(f"{scheme}_proxy", proxy[2:].strip("'\""))
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", release, str(folder), address]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"debootstrap could not make a Debian {release}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


class Machine:
    """A booted container; `run` is a shell of its root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = root.with_suffix(".boot.log")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> None:
        """Boot, without any network but loopback, and wait until systemd calls itself running."""
        command = [
            "systemd-nspawn", "-q", "-D", str(self.root), "--register=no", "--keep-unit", "--private-network", "--boot",
            "--console=pipe",
        ]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline, state = time.monotonic() + PATIENCE_S, ""
        while state not in {"running", "degraded"}:
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"The container did not boot ({state}):\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
            children = _run(["pgrep", "-P", str(self._nspawn.pid)]).stdout.split()
            if children:
                self._init = int(children[0])
                state = self.tried("systemctl is-system-running").stdout.strip()
        if state != "running":
            raise Failed(f"The container is {state}: {self.run('systemctl --failed --no-legend')}")

    def shut_down(self) -> None:
        """Power off, or kill what does not."""
        if self._nspawn is None:
            return
        if self._nspawn.poll() is None and self._init:
            self.tried("systemctl poweroff")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(30)
        if self._nspawn.poll() is None:
            self._nspawn.kill()
            self._nspawn.wait()

    def tried(self, script: str, *, user: str = "", mount_of: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run a shell script inside and return how it went; with `mount_of`, as that process sees the files."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        inner = ["nsenter", "-t", str(mount_of), "-m"] if mount_of else []
        enter = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        return _run([*enter, *_CLEAN, *inner, *become, "sh", "-c", script])

    def run(self, script: str, *, expect: int = 0) -> str:
        """What a script said on stdout. Raises Failed unless it ended with `expect`."""
        done = self.tried(script)
        if done.returncode != expect:
            raise Failed(f"`{script}` ended with {done.returncode} instead of {expect}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def wait_for(self, what: str, script: str, wanted: str) -> None:
        """Repeat a script until it says what is wanted."""
        deadline, said = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < deadline:
            done = self.tried(script)
            said = done.stdout.strip()
            if said == wanted:
                return
            time.sleep(0.3)
        raise Failed(f"{what}: still {said!r} instead of {wanted!r}\n{done.stderr}\n{self.logs()}")

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show -p {key} --value {unit}").strip()

    def outside(self, pid: int) -> int:
        """The number of a process of the container, as this machine counts."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                for line in status.read_text().splitlines():
                    numbers = line.split()[1:]
                    if line.startswith("NSpid:") and numbers[1:] and numbers[-1] == str(pid) and self._ours(status):
                        return int(numbers[0])
        raise Failed(f"There is no process {pid} in the container.")

    def logs(self) -> str:
        """The last lines both services wrote."""
        return self.tried("journalctl -u tillbridge-agent -u tillbridge-server --no-pager -n 60").stdout

    def _ours(self, status: Path) -> bool:
        own = Path(f"/proc/{self._init}/ns/pid").stat()
        return (status.parent / "ns/pid").stat().st_ino == own.st_ino


def without_booting(root: Path, script: str) -> str:
    """What a script said in a Debian that is not booted. Raises Failed."""
    enter = ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--private-network",
             "--console=pipe"]
    done = _run([*enter, *_CLEAN, "sh", "-ec", script])
    if done.returncode:
        raise Failed(f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        timeout=2 * PATIENCE_S,
    )
