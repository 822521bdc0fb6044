"""What a till gets: the agent's wheel and the protocol's, in a fresh venv, without a line of server code."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tidy.tree import is_ours

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ("protocol", "agent", "server")
#: What only the server needs; none of it may reach a till.
SERVER_ONLY = {"sqlalchemy", "alembic", "mako", "aiohttp-jinja2", "jinja2", "argon2-cffi", "prometheus-client"}
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Standard output of a command; fails with everything it said."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three wheels, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    rooms = [f"./{name}" for name in DISTRIBUTIONS]
    run(*_PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *rooms)
    return {name: next(folder.glob(f"tillbridge_{name}-*.whl")) for name in DISTRIBUTIONS}


@pytest.fixture(scope="module")
def till(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh venv that has the agent and the protocol installed from their wheels."""
    folder = tmp_path_factory.mktemp("till")
    # The tools' own pip fills it: a till's venv needs none.
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    run(
        *_PIP, "--python", programs / "python", "install", "--quiet", "-c", "constraints.txt",
        wheels["protocol"], wheels["agent"],
    )
    return programs


def test_a_till_gets_no_server_code(till: Path, tmp_path: Path, measured: Callable[[str], None]) -> None:
    """Nothing of or for the server is installed, and yet every module imports and the program starts."""
    listed = json.loads(run(*_PIP, "--python", till / "python", "list", "--format", "json"))
    names = {entry["name"].lower().replace("_", "-") for entry in listed}
    assert {"tillbridge-agent", "tillbridge-protocol", "sqlite-utils"} <= names
    assert not names & (SERVER_ONLY | {"tillbridge-server"})

    packages = Path(run(till / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    assert (packages / "tillbridge_agent").is_dir()
    assert not [path.name for path in packages.iterdir() if path.name.lower().startswith("tillbridge_server")]
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
    measured(f"agent installed: {size / 1e6:.1f} MB in {len(names)} packages, without Python itself")

    assert "quarantine" in run(till / "tillbridge-agent", "--help", cwd=tmp_path)
    every = (
        "import importlib, pkgutil, tillbridge_agent as agent\n"
        "names = [found.name for found in pkgutil.walk_packages(agent.__path__, 'tillbridge_agent.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
        "print(len(names))"
    )
    assert int(run(till / "python", "-c", every, cwd=tmp_path)) > 20


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_wheels_hold_all_that_is_needed(wheels: dict[str, Path], name: str) -> None:
    """Every file of the package is in the wheel: types, SQL, samples, templates, vectors; and no tests."""
    held = set(zipfile.ZipFile(wheels[name]).namelist())
    package = ROOT / name / f"tillbridge_{name}"
    wanted = {
        path.relative_to(ROOT / name).as_posix()
        for path in package.rglob("*")
        if path.is_file() and all(is_ours(part) for part in (path, *path.parents))
    }
    assert f"tillbridge_{name}/py.typed" in held
    assert not wanted - held
    assert not [path for path in held if path.split("/")[0] != f"tillbridge_{name}" and ".dist-info" not in path]
