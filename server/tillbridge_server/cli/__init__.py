"""`tillbridge-server`: the command line of the server; one JSON document on stdout with --json, logs on stderr.

Exit codes: 0 ok, 1 findings, 2 configuration or usage, 3 the server is not running.
"""

import os
import sys

import click

from tillbridge_server.cli import asking, orders, running
from tillbridge_server.door import NotRunning
from tillbridge_server.errors import ConfigError, TillbridgeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tillbridge-server")
def cli() -> None:
    """Head office: knows what every location holds and charges, and decides what the storefronts show."""


for _verb in (*running.VERBS, *asking.VERBS, orders.orders):
    cli.add_command(_verb)


def main() -> None:
    """Run one verb; errors become one clear sentence, a hint and the exit code."""
    os.umask(0o077)  # keys, database, backups and their half-made copies are for the server's own user
    try:
        cli(prog_name="tillbridge-server", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except ConfigError as error:
        _say(str(error), error.hint, 2)
    except NotRunning:
        start = os.environ.get("TILLBRIDGE_SERVICE", "")
        start = f"systemctl start {start}" if start else "tillbridge-server serve"
        _say("The server is not running here.", f"Start it with `{start}`, or pass --config.", 3)
    except TillbridgeError as error:
        _say(error.message, error.hint, 1)


def _say(message: str, hint: str, code: int) -> None:
    click.echo(f"{message}\n{hint}".rstrip(), err=True)
    sys.exit(code)
