"""The same packages on Debian 13, whose Python is newer: installed, loaded and used, without booting it."""

from concurrent.futures import Future
from pathlib import Path

from tests.installers.machine import CannotRun, debootstrap, without_booting
from tests.installers.packages import Built

_SCRIPT = """
cd /root
dpkg -i ./*.deb >/dev/null
python3 --version
for name in tillbridge_agent tillbridge_server; do
    PYTHONPATH=/usr/lib/$(echo $name | tr _ -) python3 -P -s -B - $name <<'END'
import importlib, pkgutil, sys
names = [one.name for one in pkgutil.walk_packages(__import__(sys.argv[1]).__path__, sys.argv[1] + ".")]
[importlib.import_module(name) for name in names if not name.endswith(("__main__", "migrations.env"))]
END
done
printf 'ArtNr;Bestand\\n0100;3\\n' > STOCK.CSV
printf '%s\\n' 'name = "stock"' '[reader]' 'format = "delimited"' '[mapping]' 'key = ["ArtNr"]' \\
    '[mapping.stock_level]' 'on_hand = "Bestand"' > feed.toml
tillbridge-agent check feed.toml STOCK.CSV | grep -q 'on_hand 3'
tillbridge-server init >/dev/null
test -f /var/lib/tillbridge-server/tillbridge.db
dpkg --purge tillbridge-agent tillbridge-server >/dev/null 2>&1
test ! -e /var/lib/tillbridge-server
"""


def try_on_debian_13(root: Path, address: str, packages: "Future[dict[str, Built]]") -> str:
    """What was seen there, in a sentence. Raises Failed; an archive without Debian 13 is NOT RUN."""
    try:
        debootstrap(root, "trixie", address, "systemd,python3,ca-certificates")
    except CannotRun as why:
        return f"NOT RUN: Debian 13: {why}"
    for built in packages.result().values():
        (root / "root" / built.now.name).write_bytes(built.now.read_bytes())
    said = without_booting(root, _SCRIPT)
    return f"Debian 13: installed, loaded, used and purged with {said.splitlines()[0]}, not booted"
