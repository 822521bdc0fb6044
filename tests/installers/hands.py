"""What the steps of the life cycle do again and again: install, look, export a file, freeze a thread, wait."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.installers.machine import Failed, Machine

AGENT, SERVER = "tillbridge-agent", "tillbridge-server"
EXPORT = "/srv/till/export"
#: Where the test puts its own files inside the machine.
TRY = "/opt/try"
_QUEUE = """
import hashlib, pathlib, shutil, sqlite3, tempfile
state = pathlib.Path("/var/lib/tillbridge-agent")
with tempfile.TemporaryDirectory() as folder:
    for file in state.glob("agent.db*"):
        shutil.copy(file, folder)
    with sqlite3.connect(folder + "/agent.db") as conn:
        rows = conn.execute("SELECT id, key, body FROM change ORDER BY id").fetchall()
        rows += conn.execute("SELECT seq, head, body FROM batch WHERE acked = 0 ORDER BY seq").fetchall()
        n = conn.execute("SELECT count(*) FROM change").fetchone()[0]
        frozen = conn.execute("SELECT coalesce(sum(changes), 0) FROM batch WHERE acked = 0").fetchone()[0]
print(n, frozen, hashlib.sha256(repr(rows).encode()).hexdigest())
"""


class Hands:
    """Works on one machine; everything raises Failed with what is known."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def expect(self, found: object, wanted: object, what: str) -> None:
        """Two values are the same."""
        if found != wanted:
            raise Failed(f"{what}: {found!r} instead of {wanted!r}\n{self.machine.logs()}")

    def apt(self, *files: Path, options: str = "") -> str:
        """The command that installs these files, which lie in the test's own folder."""
        return f"cd {TRY} && apt-get install -y -q {options} " + " ".join(f"./{file.name}" for file in files)

    def put(self, name: str, text: str) -> str:
        """Write a file of the test into the machine; its path there."""
        folder = self.machine.root / TRY.lstrip("/")
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        return f"{TRY}/{name}"

    def owner(self, path: str) -> str:
        """Mode, user and group of a file."""
        return self.machine.run(f"stat -c '%a %U %G' {path}").strip()

    def pid(self, unit: str) -> int:
        """The main process of a service."""
        return int(self.machine.show(unit, "MainPID"))

    def active(self, unit: str) -> None:
        """The service has said that it is ready."""
        self.machine.wait_for(f"{unit} is ready", f"systemctl show -p ActiveState -p SubState --value {unit} | xargs",
                              "active running")

    def back(self, unit: str, before: int) -> None:
        """The service runs again, as another process."""
        script = f"test $(systemctl show -p MainPID --value {unit}) != {before} && systemctl is-active {unit}"
        self.machine.wait_for(f"{unit} is back", script, "active")

    def status(self) -> dict[str, Any]:
        """What the running agent says of itself."""
        said: dict[str, Any] = json.loads(self.machine.tried(f"{AGENT} status --json").stdout)
        return said

    def told(self, path: str) -> str:
        """A script that prints one value of the agent's status."""
        keys = "".join(f"[{key!r}]" if not key.endswith("]") else f"[{key.split('[')[0]!r}][{key.split('[')[1]}"
                       for key in path.split("."))
        return f"{AGENT} status --json | python3 -c \"import json, sys; print(json.load(sys.stdin){keys})\""

    def export(self, name: str, stock: Mapping[str, int]) -> None:
        """The POS writes an export: item number and count."""
        rows = "".join(f"{code};{count}\\n" for code, count in stock.items())
        self.machine.run(f"umask 027; printf 'ArtNr;Bestand\\n{rows}' > {EXPORT}/new && chgrp pos {EXPORT}/new"
                         f" && mv {EXPORT}/new {EXPORT}/STOCK{name}.CSV")

    def wait_for_count(self, value: str) -> None:
        """Head office knows this count of item 0100."""
        ask = (f"{SERVER} explain 0100 --json | python3 -c"
               " \"import json, sys; print(json.load(sys.stdin)['available']['value'])\"")
        self.machine.wait_for("the count at head office", ask, value)

    def touch(self) -> int:
        """Write into the import folder as the service's process sees the disk; its exit code."""
        script = "umask 077; echo order > /srv/till/import/order && chmod 660 /srv/till/import/order"
        return min(self.machine.tried(script, user=AGENT, mount_of=self.pid(AGENT)).returncode, 1)

    def drop_in(self, name: str, text: str, unit: str = AGENT) -> None:
        """What `systemctl edit` would write; an empty text takes it away again."""
        folder = f"/etc/systemd/system/{unit}.service.d"
        file = self.machine.root / folder.lstrip("/") / f"{name}.conf"
        self.machine.run(f"mkdir -p {folder}")
        file.write_text(text, encoding="utf-8") if text else file.unlink()
        self.machine.run("systemctl daemon-reload")

    def read_queue(self) -> str:
        """How many changes wait, how many are frozen into a batch, and the hash of every queued byte (from a copy)."""
        return self.machine.run(f"python3 {self.put('queue.py', _QUEUE)}").strip()

    @contextlib.contextmanager
    def frozen(self, pid: int, *, store: bool) -> Iterator[None]:
        """Hold one thread of the agent still: the one of its event loop, or that of its database, its first other."""
        leader = self.machine.outside(pid)
        threads = sorted(int(task.name) for task in Path(f"/proc/{leader}/task").iterdir())
        script = Path(__file__).with_name("freeze.py")
        holder = subprocess.Popen([sys.executable, str(script), str(threads[1] if store else leader)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert holder.stdout is not None
            if holder.stdout.readline() != "frozen\n":
                raise Failed(f"A thread could not be held still: {holder.communicate()[1]}")
            yield
        finally:
            holder.kill()
            holder.communicate()
