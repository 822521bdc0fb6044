"""One life of both packages on a machine, step by step; each step is a method that raises Failed.

Packages and steps share one machine on purpose: the queue that the first export made must be the same one through
every later step, until the agent is purged.
"""

import json
import shutil
from collections.abc import Callable, Iterator

from tests.installers import page
from tests.installers.hands import AGENT, EXPORT, SERVER, TRY, Hands
from tests.installers.machine import Failed, Machine
from tests.installers.packages import NEW_LINE, Built, version

#: Short, so that a hang is noticed soon; everything else of the units is as shipped.
_WATCHDOG = "[Service]\nWatchdogSec=8\n"
_FEED = f"""
[[feeds]]
name = "stock"
source = {{ type = "folder", path = "{EXPORT}", pattern = "STOCK*.CSV", settle_s = 0.5 }}
reader = {{ format = "delimited", separator = ";" }}
[feeds.mapping]
key = ["ArtNr"]
[feeds.mapping.stock_level]
on_hand = "Bestand"
"""
_STYLE = """
import json, urllib.request
door = json.load(open("/var/lib/tillbridge-agent/door.json"))
print(urllib.request.urlopen(door["url"] + "/style.css", timeout=20).status)
"""
_IMPORT_ALL = """
import importlib, pkgutil, sys
names = [one.name for one in pkgutil.walk_packages(__import__(sys.argv[1]).__path__, sys.argv[1] + ".")]
[importlib.import_module(name) for name in names if not name.endswith(("__main__", "migrations.env"))]
print(len(names))
"""


class Life(Hands):
    """The steps, in order; `facts` is what they measured."""

    def __init__(self, machine: Machine, built: dict[str, Built]) -> None:
        super().__init__(machine)
        self.built = built
        self.facts: list[str] = []
        self._queue = ""
        self._agent_id = ""

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Every step with its name; the name says what holds after it."""
        yield "install both: waiting quietly, nothing failed", self.install
        yield "every module of both packages loads", self.load_everything
        yield "init: the server is ready, its files are its own", self.init
        yield "enroll: the agent is ready, its files are its own", self.enroll
        yield "hardening: exposure at most 2.0", self.harden
        yield "the page's commands open folders of the POS", self.open_folders
        yield "an export arrives at head office", self.deliver
        yield "hung server, hung loop, hung store thread: restarted", self.hang
        yield "no line: an export waits in the queue", self.queue_up
        yield "SIGKILL: back, queue intact", self.kill
        yield "upgrade: queue and edited configuration intact", self.upgrade
        yield "downgrade: the same", self.downgrade
        yield "remove: stopped, queue and configuration stay", self.remove
        yield "install again: found again", self.reinstall
        yield "line is back: the queue is delivered", self.deliver_queue
        yield "the server's own upgrade, downgrade, removal: nothing forgotten", self.server_life
        yield "purge: all gone", self.purge

    def install(self) -> None:
        """Both from files, in one command, as the page says."""
        folder = self.machine.root / TRY.lstrip("/")
        folder.mkdir()
        for built in self.built.values():
            for file in (built.now, built.next):
                shutil.copy(file, folder)
        self.machine.run(self.apt(*(built.now for built in self.built.values())))
        for unit in (AGENT, SERVER):
            self.expect(self.machine.show(unit, "UnitFileState"), "enabled", f"{unit} starts with the machine")
            self.expect(self.machine.show(unit, "ActiveState"), "inactive", f"{unit} waits")
            self.expect(self.machine.show(unit, "NRestarts"), "0", f"{unit} does not run in circles")
            self.expect(self.owner(f"/var/lib/{unit}"), f"700 {unit} {unit}", "state folder")
            size = self.machine.run(
                f"dpkg -L {unit} | xargs -d '\\n' stat -c '%F %s' | awk '/file/ {{n += $NF}} END {{print n}}'"
            )
            shipped = self.built[f"linux-{unit.removeprefix('tillbridge-')}"].shipped_bytes
            self.facts.append(f"{unit}: .deb {shipped / 1e6:.1f} MB, installed {int(size) / 1e6:.1f} MB")
        self.expect(self.owner("/etc/tillbridge-agent/agent.toml"), f"640 root {AGENT}", "configuration")
        self.expect(self.machine.run("systemctl --failed --no-legend"), "", "failed units")
        mixed = self.machine.run(
            f"find /usr/lib/{AGENT} -name 'tillbridge_server*'; find /usr/lib/{SERVER} -name 'tillbridge_agent*'"
        )
        self.expect(mixed, "", "code of the one in the package of the other")
        self.machine.run(f"{AGENT} status", expect=3)

    def load_everything(self) -> None:
        """Nothing that is imported was left out of the trees."""
        for unit in (AGENT, SERVER):
            script, package = self.put("every.py", _IMPORT_ALL), unit.replace("-", "_")
            said = self.machine.run(f"cd /; PYTHONPATH=/usr/lib/{unit} python3 -P -s -B {script} {package}")
            self.facts.append(f"{unit}: {said.strip()} modules load with the machine's Python")
            self.expect(self.machine.run(f"{unit} --version").strip(), f"{unit}, version {version()}", "version")

    def init(self) -> None:
        """As root; a person can be added while the server is stopped, without taking the database away from it."""
        self.machine.run(f"{SERVER} init --name 'Fennel & Forge' --currency CHF --time-zone Europe/Zurich")
        password = self.put("password", "four words do well\n")
        self.machine.run(f"{SERVER} person anna --password-file {password}")
        self.expect(self.owner("/etc/tillbridge-server/server.toml"), f"640 root {SERVER}", "configuration")
        self._own_files_only(SERVER)
        self.machine.run(f"systemctl start {SERVER}")
        self.expect(self.machine.show(SERVER, "StatusText"), "http://127.0.0.1:8080", "said with READY=1")
        self.active(SERVER)

    def enroll(self) -> None:
        """With a code of the running server; the service starts by itself."""
        invited = json.loads(self.machine.run(f"{SERVER} invite --location mallow --phase stock_and_price --json"))
        self.machine.run(f"{AGENT} enroll {invited['url']} {invited['code']}")
        self.active(AGENT)
        status = self.status()
        self._agent_id = status["agent"]
        self.expect(self.machine.show(AGENT, "StatusText"), f"mallow at {invited['url']}", "said with READY=1")
        self._own_files_only(AGENT)
        groups = self.machine.run(f"grep ^Groups: /proc/{self.pid(AGENT)}/status").split()[1:]
        dialout = self.machine.run("getent group dialout").split(":")[2]
        if dialout not in groups:
            raise Failed(f"The agent is not in the group dialout ({dialout}) but in {groups}.")

    def harden(self) -> None:
        """Live, and as a gate on the unit files."""
        for unit in (AGENT, SERVER):
            said = self.machine.run(f"systemd-analyze security --no-pager --threshold=20 {unit}").strip()
            self.facts.append(f"{unit}: systemd-analyze security {said.splitlines()[-1].rpartition(': ')[2]}")
            self.machine.run(f"systemd-analyze verify /usr/lib/systemd/system/{unit}.service")

    def open_folders(self) -> None:
        """A POS of its own user: unreadable and unwritable before, readable and writable after the page's commands."""
        self.machine.run(
            "useradd --system --user-group pos && mkdir -p /srv/till/export /srv/till/import"
            " && chown -R pos:pos /srv/till && chmod 750 /srv/till /srv/till/*"
        )
        config = self.machine.root / "etc/tillbridge-agent/agent.toml"
        config.write_text(config.read_text(encoding="utf-8") + _FEED, encoding="utf-8")
        self.machine.run(f"systemctl restart {AGENT}")
        self.machine.wait_for("a folder that may not be read is told", self.told("problems[0].code"), "folder")
        self.expect(str(self.touch()), "1", "writing into the POS before")
        self.machine.run(page.block("sh", "usermod"))
        self.drop_in("folders", page.block("ini", "ReadWritePaths"))
        self.machine.run(f"systemctl restart {AGENT}")
        self.expect(str(self.touch()), "0", "writing into the POS after")
        self.expect(self.machine.tried("cat /srv/till/import/order", user="pos").stdout, "order\n", "the POS reads it")
        outside = self.machine.tried("touch /srv/till/export/x", user=AGENT, mount_of=self.pid(AGENT))
        self.expect(outside.returncode, 1, "writing beside the exports")

    def deliver(self) -> None:
        """A file of the POS becomes a number at head office, and is tried with `check` before."""
        self.export("1", {"0100": 3, "0101": 4})
        self.machine.run(f"{AGENT} check stock {EXPORT}/STOCK1.CSV")
        self.wait_for_count("3")

    def hang(self) -> None:
        """A whole process that stands still, the event loop alone, the thread of the database alone."""
        for unit in (AGENT, SERVER):
            self.drop_in("watchdog", _WATCHDOG, unit)
        self.machine.run(f"systemctl restart {SERVER} {AGENT}")
        before = {unit: self.pid(unit) for unit in (AGENT, SERVER)}
        self.machine.run(f"kill -STOP {before[SERVER]}")
        with self.frozen(before[AGENT], store=False):
            self.back(AGENT, before[AGENT])
        self.back(SERVER, before[SERVER])
        pid = self.pid(AGENT)
        with self.frozen(pid, store=True):
            self.expect(self.machine.run(f"python3 -c '{_STYLE}'").strip(), "200", "the loop lives")
            self.back(AGENT, pid)
        for unit, hangs in ((AGENT, "2"), (SERVER, "1")):
            told = self.machine.run(f"journalctl -u {unit} --no-pager | grep -c 'Watchdog timeout'").strip()
            self.expect(told, hangs, f"hangs of {unit} told in the log")
        where = self.machine.run(f"journalctl -u {AGENT} --no-pager")
        self.expect("Current thread" in where or "most recent call first" in where, True, "the log says where it hung")
        for unit in (AGENT, SERVER):
            self.drop_in("watchdog", "", unit)
        self.wait_for_count("3")

    def queue_up(self) -> None:
        """The server is away; what changes is kept."""
        self.machine.run(f"systemctl stop {SERVER}")
        self.export("2", {"0100": 7, "0101": 4, "0102": 1})
        self.machine.wait_for("changes in the outbox", self.told("outbox.changes"), "2")
        self.read_queue()
        self.machine.wait_for("both are frozen into a batch", f"python3 {TRY}/queue.py | cut -d' ' -f1-2", "0 2")
        self._queue = self.read_queue()

    def kill(self) -> None:
        """By force; systemd brings it back."""
        pid = self.pid(AGENT)
        self.machine.run(f"kill -KILL {pid}")
        self.back(AGENT, pid)
        self._same_queue()

    def upgrade(self) -> None:
        """To the next version, which brings another configuration file: the edited one stays."""
        self.machine.run(self.apt(self.built["linux-agent"].next, options="-o Dpkg::Options::=--force-confold"))
        self._after_change(f"{version()}+next")
        offered = self.machine.run("cat /etc/tillbridge-agent/agent.toml.dpkg-dist")
        self.expect(offered.endswith(NEW_LINE), True, "the new configuration file lies beside the edited one")

    def downgrade(self) -> None:
        """Back to this version."""
        old = self.built["linux-agent"].now
        self.machine.run(self.apt(old, options="--allow-downgrades -o Dpkg::Options::=--force-confold"))
        self._after_change(version())

    def remove(self) -> None:
        """Not running and no program, but everything it knew."""
        self.machine.run(f"apt-get remove -y -q {AGENT}")
        self.expect(self.machine.tried(f"pgrep -f {AGENT.replace('-', '_')}").stdout, "", "processes")
        self.expect(self.machine.tried(f"command -v {AGENT}").stdout, "", "command")
        self.expect(self.read_queue(), self._queue, "the queue of a removed agent")
        self.machine.run("grep -q 'name = \"stock\"' /etc/tillbridge-agent/agent.toml")

    def reinstall(self) -> None:
        """It goes on as the same agent."""
        self.machine.run(self.apt(self.built["linux-agent"].now))
        self._after_change(version())

    def deliver_queue(self) -> None:
        """What waited arrives."""
        self.machine.run(f"systemctl start {SERVER}")
        self.wait_for_count("7")
        self.machine.wait_for("the outbox is empty", self.told("outbox.changes"), "0")

    def server_life(self) -> None:
        """Upgrade, downgrade, remove, install again: facts, people and keys stay, and agents still believe it."""
        built = self.built["linux-server"]
        self.machine.run(self.apt(built.next))
        self.expect(self.machine.run(f"{SERVER} --version").strip(), f"{SERVER}, version {version()}+next", "version")
        self.active(SERVER)
        self.machine.run(self.apt(built.now, options="--allow-downgrades"))
        self.machine.run(f"apt-get remove -y -q {SERVER} && test -f /var/lib/{SERVER}/tillbridge.db")
        self.machine.run(self.apt(built.now))
        self.active(SERVER)
        self.export("3", {"0100": 6, "0101": 4, "0102": 1})
        self.wait_for_count("6")

    def purge(self) -> None:
        """No file, no folder, no unit; what the admin wrote below /etc/systemd is the admin's."""
        self.machine.run(f"apt-get purge -y -q {AGENT} {SERVER}")
        left = self.machine.run(
            "find /etc /usr /var /run /root -xdev -iname '*tillbridge*'"
            " -not -path '/etc/systemd/system/tillbridge-*.service.d*' -not -path '/var/log/*'"
        )
        self.expect(left, "", "left behind")
        self.expect(self.machine.show(AGENT, "LoadState"), "not-found", "the agent's unit")
        self.expect(self.machine.show(SERVER, "LoadState"), "not-found", "the server's unit")

    def _after_change(self, wanted: str) -> None:
        self.expect(self.machine.run(f"{AGENT} --version").strip(), f"{AGENT}, version {wanted}", "version")
        self.active(AGENT)
        status = self.status()
        self.expect(status["version"], wanted, "version of the running agent")
        self.expect(status["agent"], self._agent_id, "identity")
        self.machine.run("grep -q 'name = \"stock\"' /etc/tillbridge-agent/agent.toml")
        self.expect(self.owner("/etc/tillbridge-agent/agent.toml"), f"640 root {AGENT}", "configuration")
        self._same_queue()

    def _own_files_only(self, unit: str) -> None:
        found = self.machine.run(f"find /var/lib/{unit} ! -user {unit} -o ! -group {unit} -o -perm /077")
        self.expect(found, "", f"files of {unit} that others own or may read")

    def _same_queue(self) -> None:
        """The running agent says two, and a copy of its database holds the very bytes that were queued."""
        self.machine.wait_for("changes in the outbox", self.told("outbox.changes"), "2")
        self.expect(self.read_queue(), self._queue, "the queue")
