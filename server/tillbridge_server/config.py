"""server.toml as frozen structs; a misspelt or missing key is a ConfigError naming file and key."""

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tillbridge_protocol.records import KINDS, STATE_KINDS
from tillbridge_server.core.orders import order_prefix
from tillbridge_server.core.settings import BreakersConfig, Owners, StorefrontConfig
from tillbridge_server.errors import ConfigError

DEFAULT_FILE = "server.toml"


class BackupConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the nightly backup goes (relative to `state`) and at what local time, "HH:MM"."""

    folder: str = "backups"
    at: Annotated[str, msgspec.Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "02:30"
    keep: Annotated[int, msgspec.Meta(ge=1)] = 14


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything server.toml may say; paths are relative to `state`, and that to the file's folder."""

    name: str
    state: str = "."
    listen: str = "127.0.0.1:8080"
    public_url: str = "http://127.0.0.1:8080"
    public_names: tuple[str, ...] = ()
    stage: str = "live"
    time_zone: str = "UTC"
    database: str = "sqlite:///tillbridge.db"
    keys: str = "keys"
    tls_cert: str = ""
    tls_key: str = ""
    demo: bool = False
    heartbeat_s: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    storefronts: tuple[StorefrontConfig, ...] = ()
    breakers: BreakersConfig = BreakersConfig()
    owners: Owners = {}
    backup: BackupConfig | None = None
    #: The file this was read from; never in the file itself.
    path: str = ""

    @property
    def folder(self) -> Path:
        """The folder of what the server keeps: database, keys, backups, the door; every other path hangs below it."""
        return Path(self.path).parent / self.state

    @property
    def host(self) -> str:
        """Host part of `listen`, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def database_url(self) -> str:
        """The database as SQLAlchemy wants it, with SQLite paths made absolute."""
        if self.database.startswith("sqlite:///") and not self.database.startswith("sqlite:////"):
            return f"sqlite:///{(self.folder / self.database.removeprefix('sqlite:///')).resolve()}"
        return self.database

    def storefront(self, storefront_id: str) -> StorefrontConfig | None:
        """The storefront of this id, or None."""
        return next((shop for shop in self.storefronts if shop.id == storefront_id), None)


def load_config(path: Path) -> ServerConfig:
    """Read and check server.toml. Raises ConfigError."""
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = "Run `tillbridge-server init` to make one."
        raise ConfigError(str(path), "", "there is no such file.", hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "Compare with the sample in server/README.md."
        raise ConfigError(str(path), "", f"is not TOML: {error}.", hint) from error
    if "path" in plain:
        raise ConfigError(str(path), "path", "is not a key of server.toml.", "Remove it.")
    try:
        config = msgspec.convert(plain, ServerConfig, strict=False)
    except msgspec.ValidationError as error:
        plain_words = str(error).partition(" - at `")[0]
        said = "this key is not known here." if "unknown field" in str(error) else f"{plain_words}."
        said = "this key is missing." if "missing required field" in str(error) else said
        raise ConfigError(str(path), _key_of(str(error)), said, "Every key is listed in server/README.md.") from error
    config = msgspec.structs.replace(config, path=str(path.resolve()))
    _check(config)
    return config


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; names other than localhost count as outside."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key_of(message: str) -> str:
    """The key an msgspec message is about: an unknown or missing field, else the place."""
    named = re.search(r"(?:unknown|required) field `([^`]+)`", message)
    place = re.search(r"`\$\.?([^`]*)`", message)
    parts = [part for part in (place[1] if place else "", named[1] if named else "") if part]
    return ".".join(parts)


def _check(config: ServerConfig) -> None:
    """What types cannot say: zones exist, ids are single, the port is one."""
    file = config.path
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+):[0-9]{1,5}", config.listen):
        raise ConfigError(file, "listen", f"{config.listen!r} is not host:port.", 'Write for example "127.0.0.1:8080".')
    zones = [("time_zone", config.time_zone)]
    zones += [(f"storefronts[{shop.id}].time_zone", shop.time_zone) for shop in config.storefronts]
    for key, zone in zones:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            hint = "Use a name of the IANA list such as Europe/Zurich."
            raise ConfigError(file, key, f"{zone!r} is no time zone.", hint) from error
    ids = [shop.id for shop in config.storefronts]
    if len(ids) != len(set(ids)):
        raise ConfigError(file, "storefronts", "two storefronts have one id.", "Give each its own.")
    prefixes: dict[str, str] = {}
    for one in ids:
        if (other := prefixes.setdefault(order_prefix(one), one)) != one:
            raise ConfigError(
                file, "storefronts", f"the order numbers of {other!r} and {one!r} would both begin with "
                f"{order_prefix(one)}-, and two orders could get one number.",
                "Choose ids that differ in their first 12 letters and digits.",
            )
    for owned in config.owners:
        kind, _, field = owned.partition(".")
        if kind not in STATE_KINDS or (field and field not in KINDS[kind].__struct_fields__):
            raise ConfigError(file, f"owners.{owned}", "is no kind of fact and no field of one.",
                              'Write for example price = ["location/feed"] or "product.title" = ["feed"].')
    if config.backup is not None and not config.database.startswith("sqlite"):
        raise ConfigError(file, "backup", "copies SQLite databases only.",
                          "Take [backup] out, and back up with pg_dump or a replica (server/README.md).")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise ConfigError(file, "tls_cert", "tls_cert and tls_key belong together.", "Set both or none.")
