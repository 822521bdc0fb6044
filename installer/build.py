"""Makes the packages: `python installer/build.py linux-agent|linux-server [--version V] [--out FOLDER]`, or `locks`.

The same sources give the same bytes, on any day and any machine with the same dpkg-deb. What is needed besides Python
and dpkg-deb is in the environment of `make setup`; the wheels of other people come through pip, as it is configured.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs as a script

from installer import deb, wheels
from installer.wheels import BuildError

#: The time of every file where no commit says one: 2026-01-01 UTC, in seconds of the epoch.
MOMENT = 1_767_225_600
#: What must never be in the other's package.
_STRANGERS = {"agent": "tillbridge_server", "server": "tillbridge_agent"}


def build(target: str, version: str, out: Path, *, fast: bool = False) -> Path:
    """Build one package of deb.PACKAGES into a folder. Raises BuildError."""
    package = deb.PACKAGES[target]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tillbridge-build-") as place:
        work = Path(place)
        ours = wheels.build_ours(package.program, version, work)
        tree = work / "tree"
        wheels.unpack([*ours, *wheels.fetch(package.program)], tree)
        if missing := wheels.extensions_missing(tree):
            raise BuildError("Extension modules are missing: " + ", ".join(missing))
        if list(tree.glob(f"{_STRANGERS[package.program]}*")):
            raise BuildError(f"{_STRANGERS[package.program]} has got into the package of the {package.program}.")
        return assemble(package, version, tree, out, work, fast=fast)


def assemble(package: deb.Package, version: str, tree: Path, out: Path, work: Path, *, fast: bool = False) -> Path:
    """The package of a finished tree; `work` is an empty place for the layout."""
    root = work / "root"
    deb.stage(package, tree, root)
    deb.write_control(package, version, root)
    deb.settle_modes(root, moment())
    file = out / f"{package.name}_{version}_{deb.ARCHITECTURE}.deb"
    deb.pack(root, file, moment(), fast=fast)
    return file


def moment() -> int:
    """SOURCE_DATE_EPOCH, else the time of the last commit, else a constant."""
    if given := os.environ.get("SOURCE_DATE_EPOCH", ""):
        return int(given)
    command = ["git", "-C", str(wheels.ROOT), "log", "-1", "--format=%ct"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    except OSError:
        said = ""
    return int(said) if said.isdigit() else MOMENT


def version_of(program: str) -> str:
    """The version in the pyproject.toml of `agent` or `server`."""
    text = (wheels.ROOT / program / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


def main(words: list[str]) -> int:
    """Run from the command line; 0 is done, 2 a wrong call or a build that cannot be."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("target", choices=[*deb.PACKAGES, "locks"])
    given.add_argument("--version", default="", help="default: that of the program's pyproject.toml")
    given.add_argument("--out", type=Path, default=wheels.ROOT / "dist", help="default: dist/")
    given.add_argument("--fast", action="store_true", help="compress less: for trying things out")
    chosen = given.parse_args(words)
    try:
        if chosen.target == "locks":
            with tempfile.TemporaryDirectory(prefix="tillbridge-locks-") as place:
                for program in ("agent", "server"):
                    sys.stdout.write(f"{wheels.write_lock(program, Path(place)).relative_to(wheels.ROOT)}\n")
            return 0
        version = chosen.version or version_of(deb.PACKAGES[chosen.target].program)
        file = build(chosen.target, version, chosen.out, fast=chosen.fast)
    except BuildError as error:
        sys.stderr.write(f"build: {error}\n")
        return 2
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    sys.stdout.write(f"{file}  {file.stat().st_size / 1e6:.1f} MB  sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
