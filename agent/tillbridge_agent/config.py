"""Reads agent.toml and feed files: frozen structs, and errors that name the file and the key."""

import difflib
import fnmatch
import os
import re
import tomllib
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from tillbridge_agent.core import device as device_structs
from tillbridge_agent.core import feed as feed_structs
from tillbridge_agent.core.device import DeviceConfig, check_devices, placed
from tillbridge_agent.core.feed import FeedConfig, Field, GuardsConfig, MappingConfig, SourceConfig, faults
from tillbridge_agent.devices import DEVICES
from tillbridge_agent.errors import ConfigError
from tillbridge_agent.imports import IMPORTS, OrdersConfig
from tillbridge_agent.imports import config as import_structs
from tillbridge_agent.imports.csv import config as csv_structs
from tillbridge_agent.readers import READERS, ReaderConfig

__all__ = [
    "AgentConfig", "FeedConfig", "Field", "GuardsConfig", "MappingConfig", "OrdersConfig", "ReaderConfig",
    "SourceConfig", "known_keys", "load_agent_config", "load_feed",
]

_AT = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`")
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class _AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """agent.toml as written."""

    state: str = "state"
    server: str | None = None
    allowed_roots: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (".",)
    feed_files: tuple[str, ...] = ()
    heartbeat_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 15.0
    feeds: tuple[FeedConfig, ...] = ()
    devices: tuple[DeviceConfig, ...] = ()
    orders: OrdersConfig | None = None


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """agent.toml with every path absolute and every feed checked; `path` is the file itself.

    Without `orders` the agent takes no web orders; with it `orders.spool` is never empty.
    """

    path: Path
    state: Path
    server: str | None
    allowed_roots: tuple[Path, ...]
    feeds: tuple[FeedConfig, ...]
    heartbeat_s: float
    devices: tuple[DeviceConfig, ...] = ()
    orders: OrdersConfig | None = None

    def feed(self, name: str) -> FeedConfig:
        """The feed of this name. Raises ConfigError."""
        for feed in self.feeds:
            if feed.name == name:
                return feed
        near = _nearest(name, [feed.name for feed in self.feeds]) or "Configure it, or check its name."
        raise ConfigError(str(self.path), "feeds", f"No feed is named {name!r}.", near)


def load_agent_config(path: str | Path) -> AgentConfig:
    """Read agent.toml and the feed files it names; relative paths start at the file they are written in.

    Raises ConfigError naming file and key.
    """
    file = Path(path).absolute()
    raw = _decode(file, _AgentFile)
    folder = file.parent
    roots = tuple(_resolve(folder, root) for root in raw.allowed_roots)
    feeds = [_finish_feed(file, f"feeds[{number}].", feed, roots) for number, feed in enumerate(raw.feeds)]
    for pattern in raw.feed_files:
        found = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not found:
            raise ConfigError(str(file), "feed_files", f"No file fits {pattern!r}.",
                              f"Put a feed file there, or take {pattern!r} out of the list.")
        feeds += [_finish_feed(feed_file, "", _decode(feed_file, FeedConfig), roots) for feed_file in found]
    _check_names(file, feeds)
    for key, message, hint in check_devices(raw.devices, {feed.name for feed in feeds}):
        raise ConfigError(str(file), key, message, hint)
    orders = None if raw.orders is None else _finish_orders(file, raw.orders, roots)
    if orders is not None:
        _check_feeds_apart(file, orders, feeds)
    return AgentConfig(
        path=file, state=_resolve(folder, raw.state), server=raw.server, allowed_roots=roots,
        feeds=tuple(feeds), heartbeat_s=raw.heartbeat_s, orders=orders,
        devices=tuple(placed(device, folder) for device in raw.devices),
    )


def load_feed(path: str | Path) -> FeedConfig:
    """Read one feed from a file of its own, as `check` does. Raises ConfigError naming file and key."""
    file = Path(path).absolute()
    feed = _decode(file, FeedConfig)
    _check_feed(file, "", feed)
    return feed


def known_keys() -> set[str]:
    """Every key that may stand in agent.toml or a feed file; the README must explain each of them."""
    structs: list[Any] = [_AgentFile, *(reader.config_type for reader in READERS.values())]
    structs += [each.config_type for each in IMPORTS.values()]
    structs += [each.config_type for each in DEVICES.values()]
    rooms = (feed_structs, device_structs, import_structs, csv_structs)
    structs += [kind for module in rooms for kind in vars(module).values()
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    return {"format", "type"} | {name for kind in structs for name in kind.__struct_encode_fields__}


def _finish_feed(file: Path, prefix: str, feed: FeedConfig, roots: tuple[Path, ...]) -> FeedConfig:
    """Checks a feed that will run, and makes its path absolute."""
    _check_feed(file, prefix, feed)
    if feed.source is None:
        raise ConfigError(str(file), f"{prefix}source", f"Feed {feed.name!r} has no source, so nothing can be watched.",
                          'Add [feeds.source] with path = "..." and pattern = "...".')
    folder = _below_roots(file, f"{prefix}source.path", feed.source.path, roots)
    return msgspec.structs.replace(feed, source=msgspec.structs.replace(feed.source, path=str(folder)))


def _check_feed(file: Path, prefix: str, feed: FeedConfig) -> None:
    for key, message, hint in faults(feed):
        raise ConfigError(str(file), prefix + key, message, hint)
    _check_zone(file, f"{prefix}mapping.time_zone", feed.mapping.time_zone)


def _finish_orders(file: Path, orders: OrdersConfig, roots: tuple[Path, ...]) -> OrdersConfig:
    """Checks the orders table, and makes its paths absolute."""
    for key, message, hint in orders.faults():
        raise ConfigError(str(file), f"orders.{key}", message, hint)
    _check_zone(file, "orders.time_zone", orders.time_zone)
    path = _below_roots(file, "orders.path", orders.path, roots)
    spool = _below_roots(file, "orders.spool", orders.spool or str(path / ".tillbridge"), roots)
    if spool == path:
        raise ConfigError(str(file), "orders.spool", "Half-written files would lie where the till imports.",
                          'Leave `spool` out: it is then the folder ".tillbridge" below `path`.')
    answers = orders.answers
    if answers is not None:
        folder = _below_roots(file, "orders.answers.path", answers.path, roots)
        answers = msgspec.structs.replace(answers, path=str(folder))
        if folder == spool:
            raise ConfigError(str(file), "orders.answers.path", "The spool folder is the agent's own.",
                              "Name the folder into which the till writes its answers.")
        if folder == path and import_structs.may_match(orders.name, answers.pattern):
            raise ConfigError(str(file), "orders.answers.pattern",
                              f"{answers.pattern!r} fits the import files in the same folder too.",
                              "Choose a pattern that fits the answers only, or another `name` for the import files.")
    return msgspec.structs.replace(orders, path=str(path), spool=str(spool), answers=answers)


def _check_feeds_apart(file: Path, orders: OrdersConfig, feeds: list[FeedConfig]) -> None:
    """No feed may take what we write, or what the till answers, for an export."""
    for feed in feeds:
        source = feed.source
        if source is None:
            continue
        if source.path == orders.path and import_structs.may_match(orders.name, source.pattern):
            raise ConfigError(str(file), "orders.name", f"Feed {feed.name!r} would read the import files as exports.",
                              f"Choose a name that {source.pattern!r} does not fit, or another folder.")
        answers = orders.answers
        if answers is not None and source.path == answers.path and _same_pattern(source.pattern, answers.pattern):
            raise ConfigError(str(file), "orders.answers.pattern",
                              f"Feed {feed.name!r} would read the answers as exports.",
                              "Choose patterns that never fit the same file, or another folder.")


def _same_pattern(one: str, other: str) -> bool:
    """Whether one pattern fits the other, which is as much as can be told of two patterns."""
    one, other = one.lower(), other.lower()
    return fnmatch.fnmatch(one, other) or fnmatch.fnmatch(other, one)


def _below_roots(file: Path, key: str, path: str, roots: tuple[Path, ...]) -> Path:
    """A path, absolute, which the agent may touch. Raises ConfigError."""
    folder = _resolve(file.parent, path)
    if not any(folder == root or root in folder.parents for root in roots):
        raise ConfigError(str(file), key, f"{folder} is outside the folders this agent may touch.",
                          "Add the folder to allowed_roots in agent.toml, or choose one below them.")
    return folder


def _check_zone(file: Path, key: str, zone: str | None) -> None:
    if zone is None:
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = _nearest(zone, sorted(zoneinfo.available_timezones()))
        raise ConfigError(str(file), key, f"There is no time zone {zone!r}.",
                          near or 'Zones are named like "Europe/Zurich".') from error


def _check_names(file: Path, feeds: list[FeedConfig]) -> None:
    seen: set[str] = set()
    for feed in feeds:
        if feed.name in seen:
            raise ConfigError(str(file), "feeds", f"Two feeds are named {feed.name!r}.", "Give each a name of its own.")
        seen.add(feed.name)


def _resolve(folder: Path, path: str) -> Path:
    """An absolute path with links followed, so that no link leads out of the allowed roots."""
    return Path(os.path.realpath(folder / path))


def _decode(file: Path, kind: type[_Struct]) -> _Struct:
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        reason = "There is no such file." if absent else f"It cannot be read: {error.strerror}."
        raise ConfigError(str(file), "", reason, "Check the path, and that this account may read it.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(file), "", "It is not UTF-8 text.", "Save the file as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), "", f"It is not TOML: {error}.", "Look at that line.") from error
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise _config_error(file, str(error)) from error


def _config_error(file: Path, text: str) -> ConfigError:
    """msgspec's message as a sentence with the full key."""
    where = _AT.search(text)
    parent = where["path"] if where else ""
    text = _AT.sub("", text)
    if unknown := _UNKNOWN.match(text):
        hint = _nearest(unknown["name"], sorted(known_keys())) or "Take it out; agent/README.md lists every key."
        return ConfigError(str(file), _join(parent, unknown["name"]), "This key is not known here.", hint)
    if missing := _MISSING.match(text):
        return ConfigError(str(file), _join(parent, missing["name"]), "This key is missing.",
                           "Add it; agent/README.md says what it means.")
    return ConfigError(str(file), parent, f"{text}.", "agent/README.md says what may stand here.")


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def _nearest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""
