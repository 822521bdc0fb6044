"""A .deb from a tree of packages: what lies where, the control file, maintainer scripts, the same bytes each time."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from installer.wheels import PYTHONS, ROOT, BuildError

LINUX = Path(__file__).resolve().parent / "linux"
ARCHITECTURE = "amd64"
#: A version as Debian compares it, without epoch and revision: `1.2.0`, `1.3.0~rc1`.
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~]*")


@dataclass(frozen=True)
class Package:
    """One of the two packages; `program` is `agent` or `server`, and the folder of its files below linux/."""

    program: str
    summary: str
    description: str

    @property
    def name(self) -> str:
        """Package, command, unit, user and folders all have this one name."""
        return f"tillbridge-{self.program}"


PACKAGES = {
    "linux-agent": Package(
        "agent", "connects a till, warehouse or office PC to head office",
        "The agent watches the folders into which a POS or ERP already exports, works\n out what changed, keeps the "
        "changes safe while there is no line, and sends\n them to the Tillbridge server.",
    ),
    "linux-server": Package(
        "server", "head office: what every location holds, what the web shop shows",
        "The server collects what the agents of all locations report, decides what each\n storefront should show, and "
        "explains every number down to the row of a file.",
    ),
}


def control(package: Package, version: str, installed_kb: int) -> str:
    """The control file. Raises BuildError for a version that Debian does not compare as meant."""
    if not _VERSION.fullmatch(version):
        raise BuildError(f"{version!r} is no version. Write it as 1.2.0 or 1.3.0~rc1.")
    first, last = PYTHONS[0], PYTHONS[-1]
    after = f"{last.split('.')[0]}.{int(last.split('.')[1]) + 1}"
    return (
        f"Package: {package.name}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\n"
        "Maintainer: The Tillbridge developers <developers@tillbridge.invalid>\n"
        f"Installed-Size: {installed_kb}\n"
        f"Depends: python3 (>= {first}), python3 (<< {after}), ca-certificates, systemd\n"
        f"Section: misc\nPriority: optional\nDescription: {package.summary}\n {package.description}\n"
    )


def stage(package: Package, tree: Path, root: Path) -> None:
    """Lay out everything but the control files below `root`, from a tree of packages."""
    name, own = package.name, LINUX / package.program
    shutil.copytree(tree, root / "usr/lib" / name)
    _copy(own / "command", root / "usr/bin" / name)
    _copy(own / "unit.service", root / f"usr/lib/systemd/system/{name}.service")
    _copy(own / "sysusers.conf", root / f"usr/lib/sysusers.d/{name}.conf")
    pages = {f"{package.program}/README.md": "README.md", "installer/README.md": "INSTALL.md"}
    for source, target in {**pages, "CHANGELOG.md": "CHANGELOG.md"}.items():
        _copy(ROOT / source, root / "usr/share/doc" / name / target)
    (root / "etc" / name).mkdir(parents=True)
    for config in own.glob("*.toml"):
        _copy(config, root / "etc" / name / config.name)
    if (sample := ROOT / package.program / "sample.toml").exists():
        _copy(sample, root / "usr/share/doc" / name / "sample.toml")


def write_control(package: Package, version: str, root: Path) -> None:
    """Write DEBIAN/ below a staged root: control, conffiles, md5sums and the maintainer scripts."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    folder = root / "DEBIAN"
    folder.mkdir()
    kb = sum(-(-path.stat().st_size // 1024) for path in files) + sum(1 for path in root.rglob("*") if path.is_dir())
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]  # noqa: S324
    conffiles = [f"/{path.relative_to(root)}\n" for path in files if path.is_relative_to(root / "etc")]
    texts = {"control": control(package, version, kb), "md5sums": "".join(sums)}
    if conffiles:
        texts["conffiles"] = "".join(conffiles)
    for script in ("postinst", "prerm", "postrm"):
        texts[script] = (LINUX / "common" / script).read_text(encoding="utf-8").replace("@NAME@", package.name)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")


def settle_modes(root: Path, moment: int) -> None:
    """Give every file its mode and one time (seconds of the epoch), whatever umask and clock the build has."""
    for path in [root, *sorted(root.rglob("*"))]:
        inside = path.relative_to(root)
        program = inside.parts[:2] == ("usr", "bin") or inside.name in {"postinst", "prerm", "postrm"}
        config = inside.parts[:1] == ("etc",) and len(inside.parts) > 1
        mode = 0o755 if path.is_dir() or program else 0o644
        path.chmod(mode & 0o750 if config and path.is_dir() else mode & 0o640 if config else mode)
        os.utime(path, (moment, moment))


def pack(root: Path, out: Path, moment: int, *, fast: bool = False) -> None:
    """Run dpkg-deb; `fast` trades a fifth more size for a tenth of the time. Raises BuildError with what it said."""
    if shutil.which("dpkg-deb") is None:
        raise BuildError("There is no dpkg-deb here. Build on Debian or Ubuntu, or install the package dpkg.")
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1" if fast else "-z6", "--build", str(root), str(out)]
    environment: Mapping[str, str] = {**os.environ, "SOURCE_DATE_EPOCH": str(moment)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError(f"dpkg-deb failed:\n{done.stdout}{done.stderr}")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
