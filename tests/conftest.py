"""Shared by all tests: a fixed clock, seeded randomness, and what is said about tests that could not run."""

import contextlib
import datetime as dt
import itertools
import os
import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import sqlalchemy as sa
    from tests.engines import Memory, Postgres

# No test judges time (CONTRIBUTING): a busy machine must not fail a property.
settings.register_profile("tillbridge", deadline=None)
settings.load_profile("tillbridge")

#: The moment every test lives in, unless it moves its own clock.
NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
ROOT = Path(__file__).resolve().parents[1]
#: What some machines lack: tests with this mark (or in this room) fail where the variable is set (.ci/run).
REQUIRED = {"browser": "TILLBRIDGE_REQUIRE_BROWSER", "postgresql": "TILLBRIDGE_REQUIRE_POSTGRESQL"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the make targets `golden`, `sim` and `store`."""
    parser.addoption("--update-golden", action="store_true", help="write the expected files of tests/golden anew")
    parser.addoption("--sequences", type=int, default=3, help="random sequences told to both databases")
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


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """A PostgreSQL for the tests of this worker; where it cannot be started they say NOT RUN and why."""
    from tests.engines import NoPostgres, running_postgres

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres as why:
            pytest.skip(f"NOT RUN: {why}")
        yield server


@pytest.fixture(scope="session")
def memory() -> "Iterator[Memory]":
    """SQLite in memory for the tests of this worker."""
    from tests.engines import Memory

    held = Memory()
    yield held
    held.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def new_engine(request: pytest.FixtureRequest) -> "Callable[[], sa.Engine]":
    """Makes databases with empty tables; every test that uses it runs on SQLite and on PostgreSQL."""
    server: Memory | Postgres = request.getfixturevalue("memory" if request.param == "sqlite" else "postgres")
    numbers = itertools.count(1)
    return lambda: server.emptied(next(numbers))


@pytest.fixture
def store_engine(new_engine: "Callable[[], sa.Engine]") -> "sa.Engine":
    """One database with empty tables; every test that uses it runs on SQLite and on PostgreSQL."""
    return new_engine()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that could not run fails where its variable of REQUIRED is set (.ci/run)."""
    report = yield
    needed = any(
        os.environ.get(variable) and (mark in item.path.parts or item.get_closest_marker(mark))
        for mark, variable in REQUIRED.items()
    )
    if report.skipped and needed:
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
