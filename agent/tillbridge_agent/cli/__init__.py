"""`tillbridge-agent`: the command line of the agent; one JSON document on stdout with --json, logs on stderr.

Exit codes: 0 ok, 1 findings, 2 configuration or usage, 3 agent or server not reachable.
"""

import os
import sys

import click

from tillbridge_agent.cli import asking, running
from tillbridge_agent.cli.check import check
from tillbridge_agent.errors import AgentError, ConfigError, TryLater
from tillbridge_agent.local import NotRunning
from tillbridge_agent.simulate.cli import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tillbridge-agent")
def cli() -> None:
    """A till, warehouse or office PC: watches its exports and tells head office what changed."""


for _verb in (*running.VERBS, check, *asking.VERBS, simulate):
    cli.add_command(_verb)


def main() -> None:
    """Run one verb; errors become one clear sentence, a hint and the exit code."""
    try:
        cli(prog_name="tillbridge-agent", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except ConfigError as error:
        _say(str(error), 2)
    except NotRunning:
        service = os.environ.get("TILLBRIDGE_SERVICE", "")  # set by the command of an installed package
        start = f"systemctl start {service}" if service else "tillbridge-agent run"
        _say(f"No agent is running here. Start it with `{start}`, or pass --config.", 3)
    except TryLater as error:
        _say(str(error), 3)
    except AgentError as error:
        _say(str(error), 1)


def _say(words: str, code: int) -> None:
    click.echo(words, err=True)
    sys.exit(code)
