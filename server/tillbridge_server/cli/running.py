"""Verbs that set a server up and run it: init, serve, person."""

import asyncio
import datetime as dt
import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

import click

from tillbridge_server.agents.keys import make_keys
from tillbridge_server.agents.tls import make_authority
from tillbridge_server.config import DEFAULT_FILE, ServerConfig, is_loopback, load_config
from tillbridge_server.errors import ConfigError
from tillbridge_server.store.opening import open_database

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=Path(DEFAULT_FILE), show_default=True,
    envvar="TILLBRIDGE_SERVER_CONFIG", help="The server.toml to use.",
)

_FILE = "sqlite:///tillbridge.db"
_TEMPLATE = """\
# Tillbridge server. Every key is explained in server/README.md.
name = "{name}"
{state}{database}listen = "{listen}"
public_url = "{url}"
time_zone = "{zone}"
{tls}{demo}
[[storefronts]]
id = "window"
title = "{name}"
connector = "shop_window"
pool = ["*"]
currency = "{currency}"
time_zone = "{zone}"
buffer = "0"
activate = "{activate}"
{backup}"""
_BACKUP = """
# A verified copy every night. Agents keep sale lines until one holds them, so that a restored server loses none.
[backup]
folder = "backups"
at = "02:30"
"""


@click.command()
@config_option
@click.option("--name", default="My shops", show_default=True, help="The chain's name, as the screens show it.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Address and port to listen on.")
@click.option("--public-url", default="", help="How agents reach the server; default: http://LISTEN.")
@click.option("--currency", default="EUR", show_default=True, help="Currency of the first storefront.")
@click.option("--time-zone", "zone", default="UTC", show_default=True, help="Time zone, such as Europe/Zurich.")
@click.option("--activate", type=click.Choice(["by_hand", "auto"]), default="by_hand", show_default=True,
              help="Who lets a new product be shown: a person, or nobody needs to.")
@click.option("--demo", is_flag=True, help="A demo server: the shop window says so.")
@click.option("--state", default=".", show_default=True, envvar="TILLBRIDGE_SERVER_STATE",
              help="Folder of database, keys and backups; relative to that of server.toml.")
@click.option("--database", default=_FILE, show_default=True,
              help="Where the facts are: a file, or postgresql+psycopg://USER@HOST/NAME.")
@click.option("--no-backup", is_flag=True, help="No nightly backup: a restored server then loses sale lines.")
def init(
    config_path: Path, name: str, listen: str, public_url: str, currency: str, zone: str, activate: str,
    demo: bool, state: str, database: str, no_backup: bool,
) -> None:
    """Make server.toml, the keys and an empty database; never overwrites."""
    if config_path.exists():
        raise ConfigError(str(config_path), "", "exists already.", "Nothing was changed. Start it with `serve`.")
    folder = config_path.resolve().parent / state
    for each in (folder, config_path.resolve().parent):
        each.mkdir(parents=True, exist_ok=True)
    in_file = database.startswith("sqlite")
    if not in_file:  # before anything is made: it may be misspelt or down
        open_database(ServerConfig(name=name, database=database, path=str(config_path))).dispose()
    url = public_url or f"http://{listen}"
    if urlsplit(url).scheme != "https" and not is_loopback(listen.rpartition(":")[0].strip("[]")):
        raise ConfigError(str(config_path), "listen", f"{listen} can be reached from outside, so it needs TLS.",
                          "Pass the address agents will use, such as --public-url https://hq.example.com:8443; "
                          "init then makes a certificate for it that agents trust by their code.")
    now = dt.datetime.now(dt.UTC)
    secure = urlsplit(url).scheme == "https"
    authority = make_authority(folder / "keys", _names(url, listen), now) if secure else ""
    make_keys(folder / "keys", now, authority)
    config_path.write_text(_TEMPLATE.format(
        name=name, listen=listen, url=url, zone=zone, currency=currency, activate=activate,
        state="" if state == "." else f'state = "{Path(state).as_posix()}"\n',
        database="" if database == _FILE else f'database = "{database}"\n',
        tls='tls_cert = "keys/tls.pem"\ntls_key = "keys/tls.key"\n' if secure else "",
        demo="demo = true\n" if demo else "", backup="" if no_backup or not in_file else _BACKUP,
    ), encoding="utf-8")
    config = load_config(config_path)
    open_database(config).dispose()
    if config.database_url.startswith("sqlite:///"):
        Path(config.database_url.removeprefix("sqlite:///")).chmod(0o600)
    click.echo(f"Made {config_path}, and its keys{' and its database' if in_file else ''} in {folder}.")
    click.echo(_about_backups(config))
    click.echo(f"Move keys/root.key to a safe place offline. Next: {how_to_start(config_path)}")


def _about_backups(config: ServerConfig) -> str:
    """What becomes of what agents sent, should the database be lost."""
    if config.backup is not None:
        return (f"A verified backup is made every night at {config.backup.at} into backups/. "
                "Copy that folder, and keys/, to another machine.")
    told = "No backup is set up: what agents sent counts as safe at once, and a restored server loses what came since."
    if config.database.startswith("sqlite"):
        return told
    return f"{told} Back the database up with pg_dump or a replica, and keys/ with it."


def how_to_start(config_path: Path) -> str:
    """The command that starts the server: that of its service where it was installed as one."""
    service = os.environ.get("TILLBRIDGE_SERVICE")
    return f"systemctl restart {service}" if service else f"tillbridge-server serve --config {config_path}"


@click.command()
@config_option
def serve(config_path: Path) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    from tillbridge_server.app import serve_until_stopped

    asyncio.run(serve_until_stopped(load_config(config_path)))


@click.command()
@config_option
@click.argument("name")
@click.option("--password-file", type=click.Path(path_type=Path, exists=True),
              help="Read the password from this file instead of asking.")
def person(config_path: Path, name: str, password_file: Path | None) -> None:
    """Let a person sign in to the dashboard, or set their password anew; works while the server is stopped too."""
    from argon2 import PasswordHasher

    from tillbridge_server.cli.asking import ask_or_open
    from tillbridge_server.dashboard.people import PASSWORD_MIN

    password = (
        password_file.read_text(encoding="utf-8").rstrip("\n") if password_file
        else click.prompt("Password (12 characters or more)", hide_input=True, confirmation_prompt=True)
    )
    if len(password) < PASSWORD_MIN:
        raise click.UsageError(f"The password needs {PASSWORD_MIN} characters or more; three or four words do well.")
    hashed = PasswordHasher().hash(password)
    document = ask_or_open(load_config(config_path), "person", {"name": name, "hashed": hashed})
    click.echo(f"{document['person']} can sign in.")


VERBS = (init, serve, person)


def _names(url: str, listen: str) -> list[str]:
    """Host names and addresses for the certificate: the public one, and a concrete listen address."""
    names = [urlsplit(url).hostname or ""]
    host = listen.rpartition(":")[0].strip("[]")
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            names.append(host)
    except ValueError:
        names.append(host)
    return list(dict.fromkeys(name for name in names if name))
