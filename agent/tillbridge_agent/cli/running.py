"""Verbs that set an agent up and run it: enroll, run."""

import asyncio
import datetime as dt
import os
from importlib.metadata import version
from pathlib import Path

import click

from tillbridge_agent.config import load_agent_config
from tillbridge_agent.enrolling import enroll as enroll_at
from tillbridge_agent.transport import Clock

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path, dir_okay=False), default=Path("agent.toml"),
    show_default=True, envvar="TILLBRIDGE_AGENT_CONFIG", help="The agent.toml to use.",
)

_FIRST = """\
# Tillbridge agent. Every key is explained in agent/README.md; a complete sample stands beside it.
server = "{server}"
allowed_roots = ["."]

# One table per feed. Try it on an export before you run the agent: tillbridge-agent check stock EXPORT.CSV
#
# [[feeds]]
# name = "stock"
# source = {{ type = "folder", path = "export", pattern = "STOCK*.CSV" }}
# reader = {{ format = "delimited", separator = ";", encodings = ["utf-8", "cp1252"] }}
# [feeds.mapping]
# key = ["ArtNr"]
# [feeds.mapping.stock_level]
# on_hand = "Bestand"
"""


@click.command()
@click.argument("url")
@click.argument("code")
@config_option
def enroll(url: str, code: str, config_path: Path) -> None:
    """Enroll this machine at the server URL with a one-time CODE of head office.

    Makes agent.toml if there is none yet. The same code may be used again on this machine while it is valid.
    """
    made = not config_path.exists()
    if made:
        config_path.parent.mkdir(parents=True, exist_ok=True)
        config_path.write_text(_FIRST.format(server=url.rstrip("/")), encoding="utf-8")
    config = load_agent_config(config_path)
    clock = Clock(lambda: dt.datetime.now(dt.UTC))
    identity = asyncio.run(enroll_at(url, code, config.state, version=version("tillbridge-agent"), clock=clock))
    click.echo(f"This machine now speaks for {identity.location}, as agent {identity.agent}.")
    service = os.environ.get("TILLBRIDGE_SERVICE")  # set by the command of an installed package
    start = f"systemctl restart {service}" if service else f"tillbridge-agent run --config {config_path}"
    click.echo(f"Describe your exports in {config_path}, then run: {start}" if made or service else f"Next: {start}")


@click.command()
@config_option
def run(config_path: Path) -> None:
    """Run the agent until Ctrl-C or SIGTERM."""
    from tillbridge_agent.app import run_until_stopped

    os.umask(0o077)  # what the agent keeps is for its own user, also in a folder that others may read
    asyncio.run(run_until_stopped(load_agent_config(config_path)))


VERBS = (enroll, run)
