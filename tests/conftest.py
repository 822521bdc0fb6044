"""Shared by all tests: a fixed clock, seeded randomness, and what is said about tests that could not run."""

import datetime as dt
import os
import random
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

# No test judges time (CONTRIBUTING): a busy machine must not fail a property.
settings.register_profile("tillbridge", deadline=None)
settings.load_profile("tillbridge")

#: The moment every test lives in, unless it moves its own clock.
NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the make targets `golden` and `sim`."""
    parser.addoption("--update-golden", action="store_true", help="write the expected files of tests/golden anew")
    parser.addoption("--seeds", type=int, default=1000, help="how many seeds the simulation runs")


@pytest.fixture
def now() -> dt.datetime:
    """The fixed moment of the tests."""
    return NOW


@pytest.fixture
def rng() -> random.Random:
    """Randomness that is the same in every run."""
    return random.Random(20260314)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True when `make golden` rewrites the expected files."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a measured fact; it is printed at the end of the run, whatever worker measured it."""
    return lambda fact: request.node.user_properties.append(("measured", fact))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A browser test that could not run fails where TILLBRIDGE_REQUIRE_BROWSER is set (.ci/run)."""
    report = yield
    needs_browser = "browser" in item.path.parts or item.get_closest_marker("browser")
    if report.skipped and needs_browser and os.environ.get("TILLBRIDGE_REQUIRE_BROWSER"):
        report.outcome = "failed"
        report.longrepr = f"NOT RUN counts as a failure here: {call.excinfo.value if call.excinfo else 'skipped'}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured, and every test that could not run with its reason, never hidden in a count."""
    for report in terminalreporter.stats.get("passed", []):
        for name, fact in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {fact}")
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = text.removeprefix("Skipped: ").removeprefix("NOT RUN: ")
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"NOT RUN: {reason} ({count} test{'s' if count > 1 else ''})", yellow=True)
