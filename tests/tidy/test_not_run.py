"""A test that could not run is told by name, and is a failure where the environment asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tidy.tree import ROOT

_TESTS = """
import pytest

@pytest.mark.browser
def test_page():
    pytest.skip("NOT RUN: no Chromium")

@pytest.mark.postgresql
def test_rows():
    pytest.skip("NOT RUN: no PostgreSQL")

def test_samples():
    pytest.skip("NOT RUN: no samples here")
"""


@pytest.mark.parametrize(("required", "outcome"), [
    ("", "3 skipped"), ("TILLBRIDGE_REQUIRE_BROWSER", "1 failed, 2 skipped"),
    ("TILLBRIDGE_REQUIRE_POSTGRESQL", "1 failed, 2 skipped"),
])
def test_not_run_is_said(tmp_path: Path, required: str, outcome: str) -> None:
    """Skips are listed with their reasons; a kind of test fails only where that kind is required."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  browser\n  postgresql\n", encoding="utf-8")
    (tmp_path / "test_pages.py").write_text(_TESTS, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TILLBRIDGE_REQUIRE_")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({required: "1"} if required else {})
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and starting is most of the time
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "pytest.ini", "."],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )
    assert outcome in done.stdout, done.stdout + done.stderr
    assert "NOT RUN: no samples here (1 test)" in done.stdout
    assert ("NOT RUN: no Chromium (1 test)" in done.stdout) is (required != "TILLBRIDGE_REQUIRE_BROWSER")
    assert ("NOT RUN: no PostgreSQL (1 test)" in done.stdout) is (required != "TILLBRIDGE_REQUIRE_POSTGRESQL")
    assert done.returncode == (1 if required else 0)
